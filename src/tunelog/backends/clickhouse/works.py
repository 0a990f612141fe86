"""The changes of a job: what each does to a job that this process writes.

Each is a function that makes the `do` of a `Work`. It may be called again, when another process
marked the job before the change counted, and then does the same to the job as that one left it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from tunelog import lifecycle
from tunelog.backends.clickhouse import records, rows
from tunelog.backends.clickhouse.intervals import Intervals
from tunelog.backends.clickhouse.owning import Clock, Owned
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.state import JobState
from tunelog.errors import NotFound
from tunelog.ids import new_token
from tunelog.model import (
    AUTO_SEQ,
    Attempt,
    Batch,
    Checkpoint,
    Event,
    Job,
    JobDetails,
    Receipt,
    Snapshot,
)

HEARD_NS: Final = 30 * 1_000_000_000
"""A sign of life is put on record before that on record is so old; until then one process knows."""

Item = TypeVar("Item", Event, Checkpoint)
Find = Callable[[str], list[Record]]

KIND_OF: Final = {Event: Kind.EVENT, Checkpoint: Kind.CHECKPOINT}


def append(batch: Batch, clock: Clock) -> Callable[[Owned], Receipt]:
    """Store a batch whole."""
    in_vain: list[tuple[int, int, int]] = []

    def do(owned: Owned) -> Receipt:
        state = _live(owned)
        attempt = state.attempt_of(batch.attempt)
        fresh = _fresh(owned, attempt, batch)
        news = False
        for before, first, last in in_vain:  # in the same attempt they are known by their numbers
            if before != attempt:
                state.make_void(first, last)
                news = True
        if fresh:
            steps = [snapshot.global_step for _, snapshot in fresh if snapshot.kind == "train"]
            news |= state.logged(attempt, min(steps, default=None), owned.arrive)
            in_vain.append((attempt, *_write_rows(owned, attempt, batch.writer, fresh)))
        elif batch.snapshots:
            _tell_names(owned, batch)
        move = lifecycle.logged if fresh else lifecycle.heard
        news |= state.move(move(state.job, clock()), owned.arrive)
        _record(owned, news)
        return Receipt(len(fresh), len(batch.snapshots) - len(fresh), state.job.status)

    return do


def create(project: str, job_id: str, details: JobDetails, clock: Clock) -> Callable[[Owned], Job]:
    """Register a `pending` job, or answer the one of this id."""

    def do(owned: Owned) -> Job:
        if owned.live is None:
            job, events = lifecycle.created(job_id, details, clock())
            born = 0 if owned.state is None else owned.arrive()
            owned.state = JobState(
                project=project,
                job=job,
                born=born,
                made=time.time_ns(),
                status_arrival=owned.arrive(),
            )
            owned.state.tell(events, owned.arrive)
            owned.record_state()
        return _live(owned).job

    return do


def move(change: Callable[[Job], lifecycle.Moved]) -> Callable[[Owned], Job]:
    """Change a job's status, progress or details."""
    token = new_token()

    def do(owned: Owned) -> Job:
        state = _live(owned)
        if token in state.applied:
            owned.record_state()
            return state.job
        news = state.move(change(state.job), owned.arrive)
        if news:
            state.note_applied(token)
        _record(owned, news)
        return state.job

    return do


def delete(job_id: str, clock: Clock) -> Callable[[Owned], None]:
    """Take a job out of sight; `purging` removes what is left of it."""
    token = new_token()

    def do(owned: Owned) -> None:
        state = owned.state
        anew = state is not None and token in state.applied
        if state is None or (state.deleted and not anew):
            raise NotFound(f"no job {job_id}")
        if not anew:
            state.note_applied(token)
            state.deleted = True
            state.job = msgspec.structs.replace(state.job, updated_at=clock())
        owned.record_state()
        owned.begin_anew()

    return do


def purged(owned: Owned) -> None:
    """Note that nothing is left of a job that was deleted, unless it is there again."""
    state = owned.state
    if state is not None and state.deleted and not state.purged:
        state.purged = True
        owned.record_state()


def open_attempt(
    from_step: int | None, open_id: str | None, clock: Clock
) -> Callable[[Owned], Attempt]:
    """Open the next attempt."""
    token = new_token()

    def do(owned: Owned) -> Attempt:
        state, now = _live(owned), clock()
        state.move(lifecycle.heard(state.job, now), owned.arrive)
        attempt = state.open_attempt(from_step, open_id, token, now, owned.arrive)
        owned.record_state()
        return attempt

    return do


def add(item: Item, find: Find, clock: Clock) -> Callable[[Owned], Item]:
    """Append an event or a checkpoint, or answer the one of its id; `find` looks on record."""
    kind = KIND_OF[type(item)]
    name = new_token() if item.id is None else f"{records.number(item.id):016x}"

    def do(owned: Owned) -> Item:
        state = _live(owned)
        _record(owned, state.move(lifecycle.heard(state.job, clock()), owned.arrive))
        waiting = [each for each in owned.records if (each.kind, each.id) == (kind, name)]
        known = waiting
        if item.id is not None and not waiting:
            where = f"kind = {kind:d} AND job = {owned.number} AND id = '{name}'"
            known = [each for each in find(where) if each.version > state.born]
        if known:
            return msgspec.json.decode(known[0].body, type=type(item))
        body = msgspec.json.encode(item)
        owned.records.append(Record(kind, owned.number, name, owned.arrive(), body))
        return item

    return do


def fall_silent(heard_before: int, clock: Clock) -> Callable[[Owned], bool]:
    """End a job if it should have been heard since; whether it was ended."""
    token = new_token()

    def do(owned: Owned) -> bool:
        state = _live(owned)
        if token in state.applied:
            owned.record_state()
            return True
        silent = lifecycle.is_silent(state.job, heard_before)
        if silent:
            state.note_applied(token)
            state.move(lifecycle.fell_silent(state.job, clock()), owned.arrive)
            owned.record_state()
        return silent

    return do


def _live(owned: Owned) -> JobState:
    state = owned.live
    assert state is not None
    return state


def _record(owned: Owned, news: bool) -> None:
    """Put the state on record if there is news, or if the job was not heard of for long."""
    if news or _live(owned).job.heard_at - owned.recorded_heard_at >= HEARD_NS:
        owned.record_state()


def _fresh(owned: Owned, attempt: int, batch: Batch) -> list[tuple[int, Snapshot]]:
    """Those of a batch that are new, with their numbers, which count as received from now on."""
    if not batch.snapshots:
        return []
    received = owned.received.setdefault((attempt, batch.writer), Intervals())
    first = batch.first_seq
    if first is None:
        last = received.last
        first = AUTO_SEQ if last is None or last < AUTO_SEQ else last + 1
    end = first + len(batch.snapshots) - 1
    missing = received.missing(first, end)
    received.add(first, end)
    return [(seq, batch.snapshots[seq - first]) for seq in missing]


def _write_rows(
    owned: Owned, attempt: int, writer: int, fresh: list[tuple[int, Snapshot]]
) -> tuple[int, int]:
    """Have snapshots written; answer their first and last arrival."""
    numbered = []
    for seq, snapshot in fresh:
        arrival = owned.arrive()
        owned.records += owned.names.news(owned.number, snapshot, arrival)
        numbered.append((seq, arrival, owned.names.shape(snapshot), snapshot))
    owned.rows.append(rows.encode(owned.number, attempt, writer, numbered))
    seq, arrival, _, snapshot = numbered[-1]
    owned.witness = rows.witness(owned.number, snapshot.kind, (attempt, writer, seq), arrival)
    return numbered[0][1], arrival


def _tell_names(owned: Owned, batch: Batch) -> None:
    """Make sure that the metrics are on record: whoever stored the batch may have died before."""
    arrival = owned.arrive()
    for snapshot in batch.snapshots:
        owned.records += owned.names.news(owned.number, snapshot, arrival)
