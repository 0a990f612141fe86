"""What is read of rows and records is what memory gives for the same history."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.clickhouse.histories import (
    JOB,
    Deed,
    Written,
    histories,
    questions,
    write,
)
from tests.store.samples import rows
from tunelog.backends.clickhouse import address, arriving, few, filters, migrate, reading, summing
from tunelog.backends.clickhouse import rows as encoded
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.shard import Shard
from tunelog.ids import new_token
from tunelog.model import Batch, Change, Snapshot, SnapshotQuery


@pytest.fixture(params=["cluster_2x2", "cluster_1x3", "modern"])
def shard(request: pytest.FixtureRequest) -> Iterator[Shard]:
    """The first shard of a store of its own."""
    servers = request.getfixturevalue(request.param)
    url = servers.url_of(database=f"tunelog_{new_token()}")
    migrate(url)
    place = address.parse(url)
    nodes = [Node(one, place.user, place.password, place.database) for one in place.shards[0]]
    made = Shard(nodes)
    yield made
    made.close()


anew = settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes here
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
small = st.sampled_from([0, 2, few.FEW])
"""So many rows are few, and read in another way."""
chances = st.randoms(use_true_random=False)


@anew
@given(history=histories, asked=questions, few_rows=small, chance=chances)
def test_a_read_gives_what_memory_gives(
    shard: Shard,
    history: list[Deed],
    asked: list[SnapshotQuery],
    few_rows: int,
    chance: random.Random,
) -> None:
    written = write(shard, history, chance)
    with patch.object(few, "FEW", few_rows):
        for query in [*map(written.query, asked)] * 3:  # again, when more is known of the job
            expected = written.store.read(JOB, query)
            found = reading.read(shard, written.number, written.state, written.there(query))
            assert (found.matched, found.returned) == (expected.matched, expected.returned)
            assert found.cursor == written.cursor(expected.cursor)
            assert repr(rows(found)) == repr(rows(expected))


@anew
@given(history=histories, asked=questions, few_rows=small, chance=chances)
def test_a_summary_is_the_one_that_memory_gives(
    shard: Shard,
    history: list[Deed],
    asked: list[SnapshotQuery],
    few_rows: int,
    chance: random.Random,
) -> None:
    written = write(shard, history, chance)
    arguments = (shard, written.number, written.state)
    with patch.object(few, "FEW", few_rows):
        for query in map(written.query, asked):
            there = written.there(query)
            assert summing.columns(*arguments, there) == written.store.columns(JOB, query)
            assert summing.summarize(*arguments, there) == written.store.summarize(JOB, query)


@anew
@given(history=histories, asked=questions, limit=st.integers(1, 12), few_rows=small, chance=chances)
def test_what_arrived_is_what_memory_tells(
    shard: Shard,
    history: list[Deed],
    asked: list[SnapshotQuery],
    limit: int,
    few_rows: int,
    chance: random.Random,
) -> None:
    """Page by page, from a cursor on."""
    written = write(shard, history, chance)
    with patch.object(few, "FEW", few_rows):
        for query in map(written.query, asked):
            expected = written.store.changes(JOB, query, limit=10**6)
            found, cursor = _followed(written, written.there(query), limit)
            assert [_told(each) for each in found] == [
                _told(each, written) for each in expected.items
            ]
            assert cursor == max(written.cursor(expected.cursor), written.there(query).after or "")


@pytest.mark.parametrize("few_rows", [0, few.FEW])
def test_a_block_that_was_forced_counts_once(shard: Shard, few_rows: int) -> None:
    """It lies there twice, the same in everything, until a merge comes by."""
    snapshots = [Snapshot("train", step, step, {"train/loss": 1 / step}) for step in range(1, 5)]
    history: list[Deed] = [("append", Batch(snapshots=snapshots))]
    written = write(shard, history, random.Random(0))
    again = f"INSERT INTO snapshot SELECT * FROM snapshot WHERE job = {written.number}"
    for node in shard.nodes:
        node.query("SYSTEM STOP MERGES snapshot")
        node.query(again, insert_deduplicate=0)
    arguments = (shard, written.number, written.state)
    with patch.object(few, "FEW", few_rows):
        for query in (SnapshotQuery(), SnapshotQuery(resolution=3)):
            found = reading.read(*arguments, query)
            expected = written.store.read(JOB, query)
            assert (found.matched, rows(found)) == (expected.matched, rows(expected))
        assert summing.summarize(*arguments, SnapshotQuery()) == written.store.summarize(JOB)
        arrived, _ = _followed(written, SnapshotQuery(), 2)
        assert len(arrived) == len(written.store.changes(JOB).items)


def test_a_repeat_behind_what_is_not_told_yet_hides_nothing(shard: Shard) -> None:
    """Of an attempt of which the job's state says nothing yet, nor of what came after it."""
    snapshot = Snapshot("train", 1, 1, {"train/loss": 1.0})
    written = write(shard, [("append", Batch(snapshots=[snapshot]))], random.Random(0))
    condition = filters.condition(shard, written.number, written.state, SnapshotQuery())
    [known] = reading_of(shard, condition)
    for attempt, after in ((2, 10), (1, 20)):
        numbered = [(known.place[3], known.arrival + after, 0, snapshot)]
        block = encoded.encode(written.number, attempt, 0, numbered)
        for node in shard.nodes:
            node.insert(encoded.INSERT, block)
    for node in shard.nodes:
        found = few.few(node, condition)
        assert found is not None
        assert (found.rows, found.until, found.whole) == ([known], known.arrival, False)


def reading_of(shard: Shard, condition: Condition) -> list[few.Row]:
    """All rows that match, where they are few."""
    found = few.few(shard.nodes[0], condition)
    assert found is not None
    assert found.whole
    return found.rows


def _followed(written: Written, query: SnapshotQuery, limit: int) -> tuple[list[Change], str]:
    """Everything that arrived, by pages, and the last cursor."""
    arrived: list[Change] = []
    while True:
        page = arriving.changes(written.shard, written.number, written.state, query, limit)
        assert len(page.items) <= limit
        arrived += page.items
        if not page.more:
            return arrived, page.cursor
        query = msgspec.structs.replace(query, after=page.cursor)


def _told(change: Change, written: Written | None = None) -> dict[str, Any]:
    """A change as a dict, with a cursor of memory's in the numbers of the rows."""
    told = msgspec.structs.asdict(change)
    if written is not None:
        told["cursor"] = written.cursor(change.cursor)
    return {"type": type(change), **told}
