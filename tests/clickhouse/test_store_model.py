"""Whatever is done to ClickHouse, it answers as the plain memory store does.

Two service processes' backends take turns, so that each change meets what the other left. Cursors
are other numbers than memory's, so those that both gave at one time stand for each other.
"""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.modern import Modern
from tests.store.samples import rows
from tests.store.test_store_model import (
    JOBS,
    batches,
    bounds,
    listings,
    outcome,
    queries,
    statuses,
)
from tunelog.backends.clickhouse import ClickHouseBackend, migrate, works
from tunelog.backends.memory import MemoryBackend
from tunelog.ids import new_token
from tunelog.model import (
    Batch,
    Change,
    Checkpoint,
    Event,
    JobChanges,
    JobDetails,
    JobQuery,
    SnapshotArrived,
    SnapshotQuery,
    Status,
    StatusChanged,
)
from tunelog.store import Store

processes = st.integers(0, 1)
places = st.one_of(st.none(), st.integers(0, 100))


class ClickHouseAgrees(RuleBasedStateMachine):
    """Does the same to memory and to one of two backends on one cluster."""

    server: Cluster | Modern

    @initialize()
    def open(self) -> None:
        self.ticks = itertools.count(1_000)
        self.now = 0
        url = self.server.url_of(database=f"tunelog_{new_token()}")
        migrate(url)
        self.memory = MemoryBackend(self.clock)
        self.backends = [ClickHouseBackend(url, self.clock) for _ in range(2)]
        self.model: Store = self.memory.store(self.memory.create_project("default"))
        project = self.backends[0].create_project("default")
        self.stores = [backend.store(project) for backend in self.backends]
        self.cursors: dict[str, list[tuple[str, str]]] = {job: [] for job in JOBS}
        for job in JOBS:
            self.both(0, "create_job", JobDetails(model="m"), job)

    def clock(self) -> int:
        return self.now

    def both(self, process: int, name: str, *arguments: Any) -> None:
        self.now = next(self.ticks)
        expected = outcome(getattr(self.model, name), *arguments)
        assert outcome(getattr(self.stores[process], name), *arguments) == expected

    def asked(
        self, job: str, query: SnapshotQuery, place: int | None
    ) -> tuple[SnapshotQuery, SnapshotQuery]:
        """The query as memory and as ClickHouse are asked it, from some cursor that both gave."""
        known = self.cursors[job]
        pair: tuple[str | None, str | None] = (None, None)
        if place is not None and known:
            pair = known[place % len(known)]
        one, other = (msgspec.structs.replace(query, after=after) for after in pair)
        return one, other

    @rule(process=processes, job=st.sampled_from(JOBS), batch=batches)
    def append(self, process: int, job: str, batch: Batch) -> None:
        self.both(process, "append", job, batch)

    @rule(
        process=processes,
        job=st.sampled_from(JOBS),
        step=bounds,
        name=st.sampled_from([None, "a", "b"]),
    )
    def open_attempt(self, process: int, job: str, step: int | None, name: str | None) -> None:
        self.both(process, "open_attempt", job, step, name)

    @rule(process=processes, job=st.sampled_from(JOBS), status=statuses)
    def update(self, process: int, job: str, status: Status) -> None:
        self.both(process, "update_job", job, JobChanges(status=status, seconds_remaining=5))

    @rule(process=processes, job=st.sampled_from(JOBS))
    def cancel(self, process: int, job: str) -> None:
        self.both(process, "cancel_job", job)

    @rule(process=processes, job=st.sampled_from(JOBS), name=st.sampled_from([None, "a", "b"]))
    def tell(self, process: int, job: str, name: str | None) -> None:
        at = self.now // 2
        self.both(process, "add_event", job, Event(type="x", message="m", created_at=at, id=name))
        saved = Checkpoint(step=1, path="p", created_at=at, id=name)
        self.both(process, "add_checkpoint", job, saved)

    @rule(process=processes, job=st.sampled_from(JOBS))
    def delete_and_create_again(self, process: int, job: str) -> None:
        self.both(process, "delete_job", job)
        self.both(1 - process, "job", job)
        self.both(process, "create_job", JobDetails(model="n", name="again"), job)
        self.cursors[job] = []

    @rule(process=processes, job=st.sampled_from(JOBS), query=queries, place=places)
    def read(self, process: int, job: str, query: SnapshotQuery, place: int | None) -> None:
        one, other = self.asked(job, query, place)
        expected = self.model.read(job, one)
        found = self.stores[process].read(job, other)
        assert (found.matched, found.returned) == (expected.matched, expected.returned)
        assert repr(rows(found)) == repr(rows(expected))
        self.cursors[job].append((expected.cursor, found.cursor))

    @rule(process=processes, job=st.sampled_from(JOBS), query=queries)
    def summarize(self, process: int, job: str, query: SnapshotQuery) -> None:
        query = msgspec.structs.replace(query, after=None)
        self.both(process, "summarize", job, query)
        self.both(process, "columns", job, query)

    @rule(process=processes, job=st.sampled_from(JOBS), query=queries, place=places)
    def follow(self, process: int, job: str, query: SnapshotQuery, place: int | None) -> None:
        one, other = self.asked(job, query, place)
        expected = self.model.changes(job, one)
        found = self.stores[process].changes(job, other)
        assert list(map(without_cursor, found.items)) == list(map(without_cursor, expected.items))
        assert found.more == expected.more
        pairs = zip(expected.items, found.items, strict=True)
        self.cursors[job] += [(mine.cursor, theirs.cursor) for mine, theirs in pairs]
        self.cursors[job].append((expected.cursor, found.cursor))

    @rule(process=processes)
    def look_at_the_catalog(self, process: int) -> None:
        self.both(process, "jobs")
        for job in JOBS:
            for name in ("attempts", "events", "checkpoints"):
                self.both(process, name, job)

    @rule(process=processes, age=st.integers(0, 5))
    def fall_silent(self, process: int, age: int) -> None:
        found = self.backends[process].end_silent_jobs(self.now - age)
        assert sorted(found) == sorted(self.memory.end_silent_jobs(self.now - age))

    @rule(process=processes, query=listings)
    def list_jobs(self, process: int, query: JobQuery) -> None:
        self.both(process, "find_jobs", query)

    def teardown(self) -> None:
        for backend in getattr(self, "backends", ()):
            backend.close()


def without_cursor(change: Change) -> tuple[Any, ...]:
    if isinstance(change, SnapshotArrived):
        return ("snapshot", change.line)
    if isinstance(change, StatusChanged):
        return ("status", change.status)
    return ("superseded", change.attempt, change.from_step)


@pytest.mark.parametrize("server", ["cluster_2x2", "cluster_1x3", "modern"])
def test_clickhouse_agrees_with_memory(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(works, "HEARD_NS", 0)  # so that both processes know of every sign of life

    class Agrees(ClickHouseAgrees):
        pass

    Agrees.server = request.getfixturevalue(server)
    run_state_machine_as_test(
        Agrees,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
