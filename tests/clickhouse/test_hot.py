"""A sample that is read again and again is that of memory, whatever is written and merged between.

Where the job's snapshots stand is in memory then, and only parts that were made since are looked
into: see `backends.clickhouse.hot`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

import pytest

from tests.clickhouse.stores import new_store
from tests.store.samples import rows
from tunelog.backends.clickhouse import ClickHouseBackend, few, hot, records
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.memory import MemoryBackend
from tunelog.model import Batch, JobDetails, Kind, Snapshot, SnapshotQuery
from tunelog.store import Store

JOB = "ft-hot"
QUERIES = (
    SnapshotQuery(resolution=7),
    SnapshotQuery(resolution=3, global_step_from=5),
    SnapshotQuery(resolution=1),
)


@pytest.fixture(params=["cluster_2x2", "cluster_1x3", "modern"])
def backend(request: pytest.FixtureRequest) -> Iterator[ClickHouseBackend]:
    """An empty store of its own."""
    made = ClickHouseBackend(new_store(request.getfixturevalue(request.param)))
    yield made
    made.close()


class Looks:
    """Counts looks for what is new, and the parts that each left out."""

    def __init__(self) -> None:
        self.left_out: list[int] = []

    def few(
        self, node: Node, condition: Condition, after: int = 0, seen: Iterable[str] = ()
    ) -> few.Few | None:
        self.left_out.append(len(list(seen)))
        return few.few(node, condition, after, seen)


@pytest.fixture
def looks() -> Iterator[Looks]:
    """Hardly any rows are few, so that every sample is one of an order."""
    made = Looks()
    with ExitStack() as stack:
        stack.enter_context(patch.object(few, "FEW", 5))
        stack.enter_context(patch.object(hot, "few", made.few))
        yield made


def test_a_sample_is_that_of_memory_whatever_happens_between(
    backend: ClickHouseBackend, looks: Looks
) -> None:
    chance = random.Random(7)
    memory, project = MemoryBackend(), backend.create_project("p")
    stores: list[Store] = [backend.store(project), memory.store(memory.create_project("p"))]
    nodes = backend.shard(records.number(project.id, JOB)).nodes
    for store in stores:
        store.create_job(JobDetails(model="m"), JOB)
    sent: list[Batch] = []
    for turn in range(60):
        deed = chance.choice(["log", "log", "evaluate", "late", "again", "merge", "nothing"])
        if deed == "merge":
            chance.choice(nodes).query("OPTIMIZE TABLE snapshot FINAL")
        elif deed == "again" and sent:
            append(stores, chance.choice(sent))
        elif deed != "nothing":
            sent.append(batch(turn, deed, chance))
            append(stores, sent[-1])
        for query in QUERIES:
            found, expected = (store.read(JOB, query) for store in stores)
            assert (found.matched, found.returned) == (expected.matched, expected.returned)
            assert rows(found) == rows(expected)
    assert sum(left_out > 0 for left_out in looks.left_out) > 60


def append(stores: list[Store], batch: Batch) -> None:
    ours, memorys = (store.append(JOB, batch) for store in stores)
    assert ours == memorys


def batch(turn: int, deed: str, chance: random.Random) -> Batch:
    """Snapshots of a turn; late ones fill a gap that was left in the numbers of another writer."""
    kind: Kind = "eval" if deed == "evaluate" else "train"
    count = chance.randint(1, 4)
    steps = range(10 * turn, 10 * turn + count)
    snapshots = [Snapshot(kind, step, 10**9 * step, {f"{kind}/loss": step / 7}) for step in steps]
    if deed == "late":
        return Batch(snapshots=snapshots, attempt=1, writer=1, first_seq=10_000 - 10 * turn)
    return Batch(snapshots=snapshots, attempt=1, first_seq=10 * turn)
