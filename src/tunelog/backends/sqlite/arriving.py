"""What arrived after a cursor, in the order in which it came."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from tunelog.backends.sqlite import blocks, catalog, filters, segments
from tunelog.backends.sqlite.filters import Condition
from tunelog.backends.sqlite.scanning import PAGE_BYTES
from tunelog.model import Change, SnapshotQuery, StatusChanged, Superseded


class Arrived(NamedTuple):
    """A snapshot in a job's arrivals."""

    arrival: int
    line: bytes
    exact: bytes | None


def snapshots(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery, limit: int
) -> tuple[list[Arrived], bool]:
    """Matching snapshots after `query.after`, as they came, and whether there are more."""
    after = entry.job.arrival(query.after)
    condition = filters.condition(connection, entry, query).until(entry.arrivals)
    packed = blocks.packed_since(connection, entry.no, after)
    rows = _rows(connection, entry.no, condition, limit)
    found: list[Arrived] = []
    size = 0
    for one in _merged(connection, packed, rows, condition):
        if len(found) == limit or size > PAGE_BYTES:
            return found, True
        found.append(one)
        size += len(one.line)
    return found, False


def _merged(
    connection: sqlite3.Connection,
    packed: list[blocks.Block],
    rows: Iterator[Arrived],
    condition: Condition,
) -> Iterator[Arrived]:
    """Rows and what is packed, by arrival; a segment is looked into only when its turn comes."""
    packed.sort(key=lambda block: block.arrival_min, reverse=True)
    row = next(rows, None)
    waiting: list[Arrived] = []
    while row or waiting or packed:
        soonest = min((one.arrival for one in (row, *waiting[:1]) if one), default=None)
        if packed and (soonest is None or packed[-1].arrival_min < soonest):
            for one in _in_segment(connection, packed.pop(), condition):
                heappush(waiting, one)
        elif waiting and waiting[0].arrival == soonest:
            yield heappop(waiting)
        elif row:
            yield row
            row = next(rows, None)


def _rows(
    connection: sqlite3.Connection, job: int, condition: Condition, limit: int
) -> Iterator[Arrived]:
    """Snapshots that are rows (index snapshot_by_arrival)."""
    found = connection.execute(
        "SELECT arrival, line, exact FROM snapshot INDEXED BY snapshot_by_arrival"
        f" WHERE job = :job AND {condition.sql} ORDER BY arrival LIMIT :limit",
        {"job": job, "limit": limit + 1, **condition.parameters},
    )
    return map(Arrived._make, found)


def _in_segment(
    connection: sqlite3.Connection, block: blocks.Block, condition: Condition
) -> Iterator[Arrived]:
    """A packed block's train snapshots; its eval snapshots have rows."""
    segment = segments.of_block(connection, block.segment or 0)
    for number, frame in enumerate(segment.frames):
        if condition.matching(frame) != (0, 0):
            for row in segment.rows(number):
                if not row.is_eval and condition.all(row):
                    yield Arrived(row.arrival, row.line, row.exact)


def other_changes(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery
) -> list[tuple[int, Change]]:
    """The status, and the attempts that supersede, with the arrival of each."""
    at, job = entry.status_arrival, entry.job
    changes: list[tuple[int, Change]] = [(at, StatusChanged(job.cursor(at), job.status))]
    if not isinstance(query.attempt, int):
        rows = connection.execute(
            "SELECT superseding, attempt, first_step FROM attempt"
            " WHERE job = ? AND attempt > 1 AND first_step IS NOT NULL",
            (entry.no,),
        )
        changes += [(at, Superseded(job.cursor(at), attempt, step)) for at, attempt, step in rows]
    return [(at, change) for at, change in changes if at > job.arrival(query.after)]
