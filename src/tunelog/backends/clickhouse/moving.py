"""Jobs as they are taken to another backend, and as they come from one.

What comes keeps its arrivals, which lie below the ballot of whoever takes it in. Its events and
checkpoints are put on record in their order, under the first numbers that there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from tunelog.backends.clickhouse import arriving, purging, records, rows
from tunelog.backends.clickhouse.filters import condition
from tunelog.backends.clickhouse.intervals import Intervals
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.owning import Owned
from tunelog.backends.clickhouse.planning import arrived, on_complete
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState, Opened
from tunelog.backends.kept import snapshot_of
from tunelog.errors import StoreUnavailable
from tunelog.model import Checkpoint, Event, SnapshotQuery
from tunelog.portable import JobState as PortableState
from tunelog.portable import KeptSnapshot
from tunelog.wire.snapshots import STEP, TIMESTAMP

EVERY: Final = SnapshotQuery(attempt="all")
PURGE_SECONDS: Final = 120.0
"""So long it may take to remove what is left of a deleted job whose place another one takes."""

Told = Sequence[tuple[int, Event]]
Saved = Sequence[tuple[int, Checkpoint]]


# ---------------------------------------------------------------- out


def taken(
    shard: Shard, number: int, state: JobState, events: Told, checkpoints: Saved
) -> PortableState:
    """All of a job but its snapshots."""
    attempts = sorted(state.attempts.items())
    return PortableState(
        job=state.job,
        arrival=max(arrived(state), _newest(shard, number, state)),
        status_arrival=state.status_arrival,
        attempts=tuple(opened.attempt for _, opened in attempts),
        superseding={n: opened.superseding for n, opened in attempts if opened.superseding},
        events=tuple(event for _, event in sorted(events, key=lambda each: each[0])),
        checkpoints=tuple(kept for _, kept in sorted(checkpoints, key=lambda each: each[0])),
    )


def _newest(shard: Shard, number: int, state: JobState) -> int:
    """The greatest arrival among the job's snapshots; 0 if there are none."""
    asked = condition(shard, number, state, EVERY)
    sql = f"SELECT max(arrival) FROM snapshot WHERE {asked.of_job}"

    def ask(node: Node) -> int:
        return int(node.query(sql))

    return on_complete(shard, asked, ask)


def stored(
    shard: Shard, number: int, state: JobState, after: int, limit: int
) -> list[KeptSnapshot]:
    """The next snapshots that arrived after `after`."""
    query = msgspec.structs.replace(EVERY, after=str(after))
    page = arriving.page(shard, condition(shard, number, state, query), limit)
    return [_kept(each) for each in page.snapshots]


def _kept(each: arriving.Arrived) -> KeptSnapshot:
    attempt, writer, seq = each.identity
    row = msgspec.json.decode(each.line)
    return KeptSnapshot(
        attempt,
        writer,
        seq,
        each.arrival,
        "eval" if any(name.startswith("eval/") for name in row) else "train",
        row[STEP],
        row[TIMESTAMP],
        each.line,
        each.exact,
    )


# ---------------------------------------------------------------- in


def adopt(shard: Shard, project: str, portable: PortableState) -> Callable[[Owned], None]:
    """Make a job exactly what a state says, its snapshots aside."""

    def do(owned: Owned) -> None:
        before = owned.state
        if before is not None and before.deleted:
            _clear(shard, owned)
            before = None
        owned.state = JobState(
            project=project,
            job=portable.job,
            born=0,
            made=time.time_ns() if before is None else before.made,
            status_arrival=portable.status_arrival,
            adopted=portable.arrival,
            attempts={
                each.attempt: Opened(each, portable.superseding.get(each.attempt, 0))
                for each in portable.attempts
            },
        )
        owned.records += _on_record(owned.number, portable.events)
        owned.records += _on_record(owned.number, portable.checkpoints)
        owned.record_state(above=portable.arrival)

    return do


def adopt_snapshots(shard: Shard, snapshots: Sequence[KeptSnapshot]) -> Callable[[Owned], None]:
    """Store a job's next snapshots as they are."""

    def do(owned: Owned) -> None:
        assert owned.live is not None
        newest = max(arrived(owned.live), _newest(shard, owned.number, owned.live))
        fresh = [kept for kept in snapshots if kept.arrival > newest]
        for kept in fresh:
            received = owned.received.setdefault((kept.attempt, kept.writer), Intervals())
            received.add(kept.seq, kept.seq)
            snapshot = snapshot_of(kept)
            owned.records += owned.names.news(owned.number, snapshot, kept.arrival)
            owned.rows.append(rows.encode_kept(owned.number, kept, owned.names.shape(snapshot)))
        if fresh:
            last = fresh[-1]
            place = last.attempt, last.writer, last.seq
            owned.witness = rows.witness(owned.number, last.kind, place, last.arrival)

    return do


def _on_record(number: int, items: Iterable[Event | Checkpoint]) -> list[Record]:
    found = []
    for place, item in enumerate(items, 1):
        kind = Kind.EVENT if isinstance(item, Event) else Kind.CHECKPOINT
        name = f"adopted-{place}" if item.id is None else f"{records.number(item.id):016x}"
        found.append(Record(kind, number, name, place, msgspec.json.encode(item)))
    return found


def _clear(shard: Shard, owned: Owned) -> None:
    """Remove what is left of a deleted job: its arrivals may be greater than those that come."""
    purging.remove(shard, {owned.number: owned.ballot})
    end = time.monotonic() + PURGE_SECONDS
    while int(shard.agreed(f"SELECT count() FROM snapshot WHERE job = {owned.number}")):
        if time.monotonic() > end:
            raise StoreUnavailable("ClickHouse: what is left of a deleted job was not removed")
        time.sleep(0.05)
