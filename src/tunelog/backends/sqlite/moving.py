"""Jobs as they are taken to another backend, and as they come from one."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tunelog.backends.kept import snapshot_of
from tunelog.backends.sqlite import appending, blocks, catalog, segments
from tunelog.backends.sqlite.appending import Writing
from tunelog.backends.sqlite.blocks import Block
from tunelog.backends.sqlite.frames import Row, Values
from tunelog.backends.sqlite.scanning import page_of
from tunelog.model import Checkpoint, Event, Job
from tunelog.portable import JobState, KeptSnapshot

_LINE = Row._fields.index("line")

_Numbered = tuple[int, int, int]
"""Attempt, writer and sequence number."""


def _origin(job: Job) -> int:
    """What cursors count a job's arrivals from."""
    return int(job.cursor(0))


# ---------------------------------------------------------------- out


def state(connection: sqlite3.Connection, entry: catalog.Entry) -> JobState:
    """All of a job but its snapshots."""
    origin = _origin(entry.job)
    superseding = connection.execute(
        "SELECT attempt, superseding FROM attempt WHERE job = ? AND first_step IS NOT NULL",
        (entry.no,),
    )
    return JobState(
        job=entry.job,
        arrival=origin + entry.arrivals,
        status_arrival=origin + entry.status_arrival,
        attempts=tuple(catalog.attempts(connection, entry.no)),
        superseding={attempt: origin + arrival for attempt, arrival in superseding},
        events=tuple(catalog.added(connection, entry.no, Event)),
        checkpoints=tuple(catalog.added(connection, entry.no, Checkpoint)),
    )


def stored(
    connection: sqlite3.Connection, entry: catalog.Entry, after: int, limit: int
) -> list[KeptSnapshot]:
    """The next snapshots that arrived after `after`.

    Segments are looked into one after another, as one is larger than the other needs to be: those
    that come with it are given, too, rather than unpacked again for the next part.
    """
    origin = _origin(entry.job)
    begin = max(0, after - origin)
    found, end = _rows_since(connection, entry, begin, limit)
    packed = blocks.packed_since(connection, entry.no, begin)
    for block in sorted(packed, key=lambda block: block.arrival_min):
        if block.arrival_min > end:
            break
        if bisect_left(found, block.arrival_min, key=_arrival) >= limit:
            end = block.arrival_min - 1
            break
        found += _in_segment(connection, block, begin, end)
        found.sort(key=_arrival)
        if len(found) > limit + segments.ROWS:
            del found[limit:]
            end = found[-1].arrival
    return [_kept(row, origin) for row in found if row.arrival <= end]


def _arrival(row: Row) -> int:
    return row.arrival


def _rows_since(
    connection: sqlite3.Connection, entry: catalog.Entry, begin: int, limit: int
) -> tuple[list[Row], int]:
    """Snapshots that are rows, and up to where there are no others (index snapshot_by_arrival)."""
    rows = connection.execute(
        f"SELECT {segments.COLUMNS} FROM snapshot INDEXED BY snapshot_by_arrival"
        " WHERE job = ? AND arrival > ? ORDER BY arrival LIMIT ?",
        (entry.no, begin, limit),
    )
    found, cut = page_of(map(Row._make, rows), _LINE)
    return found, found[-1].arrival if cut or len(found) == limit else entry.arrivals


def _in_segment(
    connection: sqlite3.Connection, block: Block, begin: int, end: int
) -> Iterator[Row]:
    """A packed block's train snapshots; its eval snapshots have rows."""
    segment = segments.of_block(connection, block.segment or 0)
    for number, frame in enumerate(segment.frames):
        if frame.arrival_max > begin and frame.arrival_min <= end:
            for row in segment.rows(number):
                if begin < row.arrival <= end and not row.is_eval:
                    yield row


def _kept(row: Row, origin: int) -> KeptSnapshot:
    return KeptSnapshot(
        row.attempt,
        row.writer,
        row.seq,
        origin + row.arrival,
        "eval" if row.is_eval else "train",
        row.global_step,
        row.logged_at,
        row.line,
        row.exact,
    )


# ---------------------------------------------------------------- in


def adopt(connection: sqlite3.Connection, project: str, state: JobState) -> None:
    """Make a job exactly what `state` says, its snapshots aside."""
    origin = _origin(state.job)
    arrivals, status_arrival = (
        max(0, arrival - origin) for arrival in (state.arrival, state.status_arrival)
    )
    no = catalog.put(connection, project, state.job, arrivals, status_arrival)
    connection.execute("DELETE FROM attempt WHERE job = ?", (no,))
    for attempt in state.attempts:
        superseding = max(0, state.superseding.get(attempt.attempt, 0) - origin)
        catalog.put_attempt(connection, no, attempt, superseding)
    catalog.replace(connection, no, Event, state.events)
    catalog.replace(connection, no, Checkpoint, state.checkpoints)


def adopt_snapshots(
    connection: sqlite3.Connection,
    writing: Writing,
    entry: catalog.Entry,
    snapshots: Sequence[KeptSnapshot],
) -> None:
    """Store a job's next snapshots as they are."""
    origin = _origin(entry.job)
    fresh = [kept for kept in snapshots if kept.arrival - origin > entry.arrivals]
    if not fresh:
        return
    for (attempt, writer), first, last in _runs((s.attempt, s.writer, s.seq) for s in fresh):
        appending.note_received(connection, (entry.no, attempt, writer), first, last)
    rows = sorted(_rows(connection, writing, entry.no, fresh, origin), key=lambda row: row[0].place)
    times = [row.logged_at for row, _ in rows]

    def some(part: Sequence[int]) -> tuple[list[Row], list[Values]]:
        return [rows[i][0] for i in part], [rows[i][1] for i in part]

    appending.store(connection, writing, entry.no, times, some)
    connection.execute(
        "UPDATE job SET arrivals = ? WHERE no = ?", (fresh[-1].arrival - origin, entry.no)
    )


def _rows(
    connection: sqlite3.Connection,
    writing: Writing,
    job: int,
    snapshots: Sequence[KeptSnapshot],
    origin: int,
) -> Iterator[tuple[Row, Values]]:
    """Snapshots as rows, in order of arrival, in which new metrics have to be noted."""
    numbers = writing.shapes.of(connection, job)
    for kept in snapshots:
        snapshot = snapshot_of(kept)
        row = Row(
            kept.logged_at,
            kept.attempt,
            kept.writer,
            kept.seq,
            1 if kept.kind == "eval" else 0,
            kept.global_step,
            numbers.shape(connection, snapshot),
            kept.arrival - origin,
            kept.exact,
            kept.line,
        )
        yield row, snapshot.values


def _runs(identities: Iterable[_Numbered]) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Of each attempt and writer, its sequence numbers as runs without a gap."""
    numbered = enumerate(sorted(identities))
    for (attempt, writer, _), run in groupby(
        numbered, key=lambda each: (each[1][0], each[1][1], each[1][2] - each[0])
    ):
        seqs = [seq for _, (_, _, seq) in run]
        yield (attempt, writer), seqs[0], seqs[-1]
