"""What happens while an answer comes: errors in its midst, readers that go, rows that are new."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.histories import insert_records, insert_rows
from tests.serving import PATIENCE
from tunelog.backends.clickhouse import (
    address,
    arriving,
    few,
    filters,
    migrate,
    planning,
    reading,
    records,
    rows,
    state,
)
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState, Opened
from tunelog.backends.clickhouse.streaming import begin
from tunelog.errors import NotFound, StoreUnavailable, TunelogError
from tunelog.ids import new_token
from tunelog.model import Attempt, Job, Snapshot, SnapshotQuery


@pytest.fixture
def shard(cluster_2x2: Cluster) -> Iterator[Shard]:
    """The first shard of a store of its own."""
    url = cluster_2x2.url_of(database=f"tunelog_{new_token()}")
    migrate(url)
    place = address.parse(url)
    made = Shard([Node(one, place.user, "", place.database) for one in place.shards[0]])
    yield made
    made.close()


def begun(shard: Shard, sql: str, expected: int) -> Iterator[bytes]:
    def short() -> TunelogError:
        return NotFound("there was less")

    return begin(shard, shard.nodes[0], sql, expected, short, bytes)


def job(**fields: object) -> JobState:
    made = Job(id="ft-a", status="running", created_at=0, updated_at=0, heard_at=0)
    return JobState(**{"project": "p-1", "job": made, "born": 0, "made": 0, **fields})  # type: ignore[arg-type]


def log(shard: Shard, number: int, attempt: int, steps: range, arrival: int) -> None:
    """Write the rows of an attempt, and nothing of what tells of them."""
    numbered = [
        (step, arrival + at, 0, Snapshot("train", step, 1000 * attempt + step, {}))
        for at, step in enumerate(steps)
    ]
    insert_rows(shard, number, rows.encode(number, attempt, 0, numbered), arrival)


def test_an_answer_comes_whole(shard: Shard) -> None:
    lines = begun(shard, "SELECT number FROM numbers(1000000)", 1_000_000)
    found = b"\n".join(lines)
    assert found.split(b"\n") == [b"%d" % number for number in range(1_000_000)]


def test_an_error_in_the_midst_of_an_answer_is_an_error(shard: Shard) -> None:
    failing = "SELECT number + throwIf(number = 700000) FROM numbers(1000000)"
    lines = begun(shard, failing, 1_000_000)
    assert next(lines).startswith(b"0\n1\n")
    with pytest.raises(StoreUnavailable, match="throwIf"):
        list(lines)


def test_an_answer_that_ends_early_is_an_error(shard: Shard) -> None:
    with pytest.raises(NotFound, match="there was less"):
        list(begun(shard, "SELECT number FROM numbers(1000)", 1001))


def test_an_answer_of_more_lines_than_were_counted_is_an_error(shard: Shard) -> None:
    with pytest.raises(StoreUnavailable, match="changed meanwhile"):
        list(begun(shard, "SELECT number FROM numbers(1000)", 999))


def test_a_reader_that_goes_ends_the_statement(shard: Shard) -> None:
    mark = random.randrange(10**9)
    lines = begun(shard, f"SELECT number + {mark} FROM numbers(10000000000)", 10**10)
    next(lines)
    running = f"SELECT count() FROM system.processes WHERE position(query, '{mark} FROM') > 0"
    assert shard.nodes[0].query(running) == b"2\n"  # and the one that asks
    lines.close()  # type: ignore[attr-defined]
    end = time.monotonic() + PATIENCE
    while shard.nodes[0].query(running) != b"1\n":
        assert time.monotonic() < end


def test_a_read_turns_to_another_replica(shard: Shard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = Node(f"http://127.0.0.1:{taken.getsockname()[1]}", "", "", "d")
    number = records.number(new_token())
    log(shard, number, 1, range(10), 11)
    halved = Shard([nowhere, shard.nodes[1]])
    found = reading.read(halved, number, job(), SnapshotQuery())
    assert (found.matched, found.cursor) == (10, "20")


@pytest.mark.parametrize("few_rows", [few.FEW, 0])
def test_a_read_ends_before_rows_of_which_nothing_is_told_yet(
    shard: Shard, few_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshots are written first, then that they supersede others: a cursor must not pass that."""
    monkeypatch.setattr(few, "FEW", few_rows)
    number = records.number(new_token())
    log(shard, number, 1, range(10), 11)
    log(shard, number, 2, range(5, 7), 22)
    before = job(attempts={n: Opened(Attempt(attempt=n)) for n in (1, 2)})
    found = reading.read(shard, number, before, SnapshotQuery())
    assert (found.matched, found.cursor) == (10, "20")
    assert arriving.changes(shard, number, before, SnapshotQuery(), 1000).cursor == "20"
    told = job(
        attempts={
            1: Opened(Attempt(attempt=1, first_step=0)),
            2: Opened(Attempt(attempt=2, first_step=5), 21),
        }
    )
    found = reading.read(shard, number, told, SnapshotQuery())
    assert (found.matched, found.cursor) == (7, "23")


def test_what_a_read_misses_of_a_deleted_job_is_said_to_be_gone(shard: Shard) -> None:
    number = records.number(new_token())
    log(shard, number, 1, range(10), 11)
    body = state.encode(job(deleted=True))
    insert_records(shard, [Record(Kind.STATE, number, "p-1", 30, body)])
    condition = filters.condition(shard, number, job(), SnapshotQuery())
    error = planning.gone_or_changed(shard, condition)
    assert isinstance(error, NotFound)


def test_thousands_of_key_sets_are_told_apart(shard: Shard) -> None:
    number = records.number(new_token())
    names = rows.Names()
    told, numbered = [], []
    for at in range(6000):
        each = Snapshot("train", at, at, {f"train/{at}": 1.0})
        told += names.news(number, each, 11 + at)
        numbered.append((at, 11 + at, names.shape(each), each))
    insert_rows(shard, number, rows.encode(number, 1, 0, numbered), 11)
    insert_records(shard, told)
    found = reading.read(shard, number, job(), SnapshotQuery(keys=("train/1*", "train/2*")))
    assert found.matched == found.returned == 2222
    assert b"".join(found.chunks).count(b'"train/1999":1.0') == 1
