"""Histories of a job, told to the plain memory backend and written as rows and records."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import hypothesis.strategies as st
import msgspec
from msgspec import Struct

from tests.store.test_store_model import batches, bounds, queries, statuses
from tunelog.backends.clickhouse import records, rows, state
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState, Opened
from tunelog.backends.memory import MemoryBackend, MemoryStore
from tunelog.backends.memory_records import Stored
from tunelog.errors import TunelogError
from tunelog.ids import new_token
from tunelog.model import Batch, JobChanges, JobDetails, Snapshot, SnapshotQuery, Status

JOB = "ft-a"
APART = 8
"""So many numbers lie between two arrivals, for copies that came before."""

Deed = tuple[str, Batch | int | Status | None]

deeds: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("append"), batches),
    st.tuples(st.just("append"), batches),
    st.tuples(st.just("open_attempt"), bounds),
    st.tuples(st.just("status"), statuses),
)
histories = st.lists(deeds, max_size=8)
questions = st.lists(queries, min_size=3, max_size=6)


class Written(Struct):
    """A history in both forms.

    Attributes:
        store: what memory makes of it.
        shard: where its rows are.
        number: the job's number there.
        state: the job there.
    """

    store: MemoryStore
    shard: Shard
    number: int
    state: JobState

    def query(self, query: SnapshotQuery) -> SnapshotQuery:
        """The same query with its cursor in memory's numbers."""
        if query.after is None:
            return query
        return _replaced(query, str(self._created + int(query.after)))

    def there(self, query: SnapshotQuery) -> SnapshotQuery:
        """A query of memory's with its cursor in the numbers of the rows."""
        return query if query.after is None else _replaced(query, self.cursor(query.after))

    def cursor(self, cursor: str) -> str:
        """A cursor of memory's in the numbers of the rows."""
        return str(int(cursor) * APART)

    @property
    def _created(self) -> int:
        return self.state.job.created_at // 1000


def _replaced(query: SnapshotQuery, after: str) -> SnapshotQuery:
    return msgspec.structs.replace(query, after=after)


def remember(history: Sequence[Deed]) -> tuple[MemoryBackend, MemoryStore]:
    """What memory makes of a history."""
    ticks = itertools.count(10_000_000, 1000)
    backend = MemoryBackend(lambda: next(ticks))
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    for name, what in history:
        try:
            if isinstance(what, Batch):
                store.append(JOB, what)
            elif name == "status":
                store.update_job(JOB, JobChanges(status=what))  # type: ignore[arg-type]
            else:
                store.open_attempt(JOB, what)  # type: ignore[arg-type]
        except TunelogError:
            continue
    return backend, store


def write(shard: Shard, history: Sequence[Deed], chance: random.Random) -> Written:
    """A history in both forms; some rows lie there more than once, in blocks of any size.

    A copy has an earlier arrival, as a change has that was made anew, or is of a block that was
    forced, as one is whose only copy is out of reach.

    Under the same number lies what is left of a job that was deleted.
    """
    _, store = remember(history)
    record = store._record(JOB)
    number = records.number(new_token())
    base = record.job.created_at // 1000

    def at(arrival: int) -> int:
        return (base + arrival) * APART

    there = JobState(
        project="p-1",
        job=record.job,
        born=at(0),
        made=0,
        status_arrival=at(record.status_arrival),
        attempts={
            n: Opened(each.attempt, at(each.superseding) if each.superseding else 0)
            for n, each in record.attempts.items()
        },
    )
    names = rows.Names()
    told: list[Record] = []
    for each in record.snapshots:
        told += names.news(number, each.snapshot, at(each.arrival))
    _write_rows(shard, number, record.snapshots, names.shape, at, chance)
    _write_leftovers(shard, number, at(0))
    told.append(Record(Kind.STATE, number, "p-1", at(record.arrivals), state.encode(there)))
    insert_records(shard, told)
    return Written(store, shard, number, there)


def _write_rows(
    shard: Shard,
    number: int,
    snapshots: Sequence[Stored],
    shape: Callable[[Snapshot], int],
    at: Callable[[int], int],
    chance: random.Random,
) -> None:
    copies = [(each, at(each.arrival)) for each in snapshots]
    if chance.random() < 0.5:
        again = chance.sample(snapshots, len(snapshots) // 2)
        copies += [(each, at(each.arrival) - chance.randrange(1, APART)) for each in again]
    chance.shuffle(copies)
    while copies:
        size = chance.choice([1, 3, 10, 40])
        block, copies = copies[:size], copies[size:]
        body = b"".join(
            rows.encode(
                number,
                each.attempt,
                each.writer,
                [(each.seq, arrival, shape(each.snapshot), each.snapshot)],
            )
            for each, arrival in block
        )
        insert_rows(shard, number, body, block[0][1])
        if chance.random() < 0.2:
            shard.nodes[0].insert(rows.INSERT, body, insert_deduplicate=0)


def _write_leftovers(shard: Shard, number: int, born: int) -> None:
    old = Snapshot("train", 1, 5, {"old/name": 1.0})
    numbered = [(seq, born - seq, rows.Names().shape(old), old) for seq in range(3)]
    insert_rows(shard, number, rows.encode(number, 1, 0, numbered), born)
    insert_records(shard, rows.Names().news(number, old, born - 1))


def insert_rows(shard: Shard, number: int, body: bytes, arrival: int) -> None:
    """Write rows, among them one of this arrival."""
    witness = f"SELECT count() FROM snapshot WHERE job = {number} AND arrival = {arrival}"
    shard.insert(rows.INSERT, body, witness)


def insert_records(shard: Shard, told: Sequence[Record]) -> None:
    """Write records."""
    last = told[-1]
    witness = (
        f"SELECT count() FROM record WHERE kind = {last.kind:d} AND job = {last.job}"
        f" AND version = {last.version}"
    )
    shard.insert(records.INSERT, records.encode(told), witness)
