"""Packing: which blocks become segments, and when.

A large batch that follows everything is packed as it comes, quickly. Other snapshots are rows first
and packed when they have been left alone for a while; then neighbours are packed together, well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from tunelog.backends.sqlite import blocks, segments
from tunelog.backends.sqlite.blocks import Block
from tunelog.backends.sqlite.frames import Row, Values
from tunelog.wire.snapshots import decode_values

AT_ONCE = 512
"""From so many snapshots on, a batch is packed as it comes."""


def begin_at_once(connection: sqlite3.Connection, job: int, times: Sequence[int]) -> int | None:
    """Where a packed block of new snapshots, logged at these times, would begin.

    None if they are few, or do not follow all others of the job.
    """
    if len(times) < AT_ONCE:
        return None
    last, first = blocks.last(connection, job), min(times)
    if last is None:
        return 0
    return first if first > last.logged_at_max else None


def parts(times: Sequence[int], *, in_order: bool) -> Iterator[Sequence[int]]:
    """Which snapshots to store together, by number; in order, none begins within a moment."""
    order = sorted(range(len(times)), key=times.__getitem__) if in_order else range(len(times))
    low = 0
    for place in range(segments.ROWS, len(order)):
        begins = not in_order or times[order[place]] != times[order[place - 1]]
        if place - low >= segments.ROWS and begins:
            yield order[low:place]
            low = place
    yield order[low:]


def pack_at_once(
    connection: sqlite3.Connection,
    job: int,
    rows: Sequence[Row],
    values: Sequence[Values],
    begin: int,
) -> None:
    """Store new snapshots, in order, as packed blocks, of which the first is to `begin`."""
    segments.insert_rows(connection, job, (row for row in rows if row.is_eval))
    for low, high in _cuts(rows):
        part = rows[low:high], values[low:high]
        at = begin if low == 0 else rows[low].logged_at
        segments.store(connection, job, *part, segments.QUICKLY, at)


def _cuts(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Where to cut rows, so that no segment is too large, and none begins within a moment."""
    low, size = 0, 0
    for i, row in enumerate(rows):
        if size >= blocks.FULL_BYTES and row.logged_at != rows[i - 1].logged_at:
            yield low, i
            low, size = i, 0
        size += len(row.line)
    yield low, len(rows)


class Packer:
    """Packs what has come to rest; used by the writing thread alone."""

    def __init__(self) -> None:
        self._jobs: dict[int, None] | None = None

    def touched(self, job: int) -> None:
        """Note that a job has new snapshots."""
        if self._jobs is not None:
            self._jobs[job] = None

    def step(self, connection: sqlite3.Connection) -> bool:
        """Pack one segment; False if there is nothing to pack."""
        if self._jobs is None:
            found = connection.execute(
                "SELECT job FROM block WHERE level < 2 GROUP BY job HAVING min(logged_at_from) <"
                " (SELECT max(newer.logged_at_from) FROM block newer WHERE newer.job = block.job)"
            )
            self._jobs = dict.fromkeys(job for (job,) in found)
        while self._jobs:
            job = next(iter(self._jobs))
            if _pack_some(connection, job):
                return True
            del self._jobs[job]
        return False


def _pack_some(connection: sqlite3.Connection, job: int) -> bool:
    """Pack one segment of a job; False if there is nothing to pack."""
    known = connection.execute("SELECT arrivals FROM job WHERE no = ?", (job,)).fetchone()
    last = blocks.last(connection, job)
    if known is None or last is None:
        return False
    single = None
    for group, complete in _groups(connection, job, last, *known):
        if complete:
            _pack(connection, job, group, segments.WELL)
            return True
        rows = [block for block in group if block.level == 0]
        single = single or (rows[0] if rows else None)
    if single is not None:
        _pack(connection, job, [single], segments.QUICKLY)
    return single is not None


def _groups(
    connection: sqlite3.Connection, job: int, last: Block, arrivals: int
) -> Iterator[tuple[list[Block], bool]]:
    """Neighbours that fit into one segment, and whether nothing more will come to them.

    A block of rows takes part when it is not the newest and has had no late snapshot among the
    last that arrived; else it would be unpacked soon.
    """
    group: list[Block] = []
    for block in blocks.to_pack(connection, job):
        rests = block.arrival_max + blocks.FULL <= arrivals and block != last
        ready = block.level > 0 or rests
        near = bool(group) and _neighbours(connection, job, group[-1], block)
        if group and not (ready and near and _fit([*group, block])):
            yield group, ready or not near
            group = []
        if ready:
            group.append(block)
    if group:
        yield group, group[-1] != last


def _neighbours(connection: sqlite3.Connection, job: int, one: Block, then: Block) -> bool:
    between = connection.execute(
        "SELECT 1 FROM block WHERE job = ? AND logged_at_from > ? AND logged_at_from < ? LIMIT 1",
        (job, one.logged_at_from, then.logged_at_from),
    )
    return between.fetchone() is None


def _fit(group: Sequence[Block]) -> bool:
    return (
        sum(block.size for block in group) <= segments.ROWS
        and sum(block.bytes for block in group) <= blocks.FULL_BYTES
    )


def _pack(connection: sqlite3.Connection, job: int, group: Sequence[Block], level: int) -> None:
    rows = [row for block in group for row in segments.rows_of(connection, job, block)]
    for block in group:
        segments.remove(connection, job, block)
    values = [decode_values(row.line, row.exact) for row in rows]
    segments.store(connection, job, rows, values, level, group[0].logged_at_from)
