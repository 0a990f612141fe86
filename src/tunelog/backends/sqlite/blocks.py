"""Blocks: a job's snapshots counted by stretches, so that no read walks the history to count.

A block holds the snapshots from its `logged_at_from` up to the next block's. Equal times never lie
in two blocks. The newest grows to `FULL`; a snapshot that comes late is counted in the block it
falls into, which is split when it has grown to `SPLIT`. A block's snapshots are rows, or packed in
a segment; what is packed does not grow, so a late snapshot has it unpacked first.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tunelog.backends.sqlite.frames import Counts, Row
from tunelog.model import ALL, INT64_MAX, SnapshotQuery

FULL = 1024
FULL_BYTES = 1 << 20
SPLIT = 4096


class Counted(NamedTuple):
    """What a block needs to know of a snapshot."""

    logged_at: int
    is_eval: int
    global_step: int
    attempt: int
    arrival: int
    bytes: int


def counted(row: Row) -> Counted:
    """What a block needs to know of a row."""
    return Counted(
        row.logged_at, row.is_eval, row.global_step, row.attempt, row.arrival, len(row.line)
    )


class Block(NamedTuple):
    """A row of the table."""

    logged_at_from: int
    logged_at_max: int
    train: int
    eval: int
    step_min: int
    step_max: int
    attempt_min: int
    attempt_max: int
    arrival_min: int
    arrival_max: int
    bytes: int
    shape_counts: str | None = None
    segment: int | None = None
    level: int = 0

    @property
    def size(self) -> int:
        """How many snapshots it holds."""
        return self.train + self.eval

    @property
    def shapes(self) -> Mapping[int, Counts] | None:
        """How many train and eval snapshots have each set of keys; None if nobody counted."""
        return None if self.shape_counts is None else _decode_shapes(self.shape_counts)

    def grown(self, rows: Sequence[Counted]) -> Block:
        """The block with these snapshots more."""
        times, evals, steps, attempts, arrivals, sizes = zip(*rows, strict=True)
        return Block(
            self.logged_at_from,
            max(self.logged_at_max, *times),
            self.train + len(rows) - sum(evals),
            self.eval + sum(evals),
            min(self.step_min, *steps),
            max(self.step_max, *steps),
            min(self.attempt_min, *attempts),
            max(self.attempt_max, *attempts),
            min(self.arrival_min, *arrivals),
            max(self.arrival_max, *arrivals),
            self.bytes + sum(sizes),
        )


_decode_shapes = msgspec.json.Decoder(dict[int, Counts]).decode
_COLUMNS = ", ".join(Block._fields)

Unpack = Callable[[sqlite3.Connection, int, Block], Block]


def count(
    connection: sqlite3.Connection,
    job: int,
    rows: Sequence[Counted],
    unpack: Unpack,
    newest: Block | None = None,
) -> tuple[bool, Block | None]:
    """Count snapshots that were just stored; a packed block among which some fall is unpacked.

    Args:
        connection: inside the transaction that stored them.
        job: whose they are.
        rows: the snapshots.
        unpack: makes a packed block's snapshots rows.
        newest: the job's newest block, if it is known.

    Returns:
        Whether a block was begun for them, and the newest block, if it is known.
    """
    pending, begun = sorted(rows), False
    while pending:
        block, end = _block_of(connection, job, pending[0], newest)
        if block.segment is not None:
            block = unpack(connection, job, block)
        begun = begun or block.size == 0
        taken = _room(block, end, pending)
        block = block.grown(pending[:taken])
        save(connection, job, block)
        newest = block if end is None else newest
        if block.size > SPLIT:
            _split(connection, job, block)
            newest = None
        pending = pending[taken:]
    return begun, newest


def between(
    connection: sqlite3.Connection, job: int, low: int, high: int, query: SnapshotQuery = ALL
) -> list[Block]:
    """The blocks that may hold something logged between `low` and `high`, in order.

    Those without a step that `query` asks for may be left out.
    """
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = ? AND logged_at_from <= ?"
        " AND logged_at_max >= ? AND step_max >= ? AND step_min <= ? ORDER BY logged_at_from",
        (
            job,
            high,
            low,
            0 if query.global_step_from is None else query.global_step_from,
            INT64_MAX if query.global_step_to is None else query.global_step_to,
        ),
    )
    return list(map(Block._make, found))


def first(connection: sqlite3.Connection, job: int, low: int, high: int) -> Block | None:
    """The first of `between`, found without a look at those before it."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = :job AND logged_at_from >= coalesce("
        " (SELECT max(logged_at_from) FROM block WHERE job = :job AND logged_at_from <= :low), 0)"
        " AND logged_at_from <= :high AND logged_at_max >= :low ORDER BY logged_at_from LIMIT 1",
        {"job": job, "low": low, "high": high},
    ).fetchone()
    return None if found is None else Block._make(found)


def last(connection: sqlite3.Connection, job: int) -> Block | None:
    """The job's newest block."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = ? ORDER BY logged_at_from DESC LIMIT 1", (job,)
    ).fetchone()
    return None if found is None else Block._make(found)


def packed_since(connection: sqlite3.Connection, job: int, arrival: int) -> list[Block]:
    """The packed blocks with snapshots that came after an arrival."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = ? AND arrival_max > ? AND segment IS NOT NULL",
        (job, arrival),
    )
    return [Block._make(row) for row in found]


def to_pack(connection: sqlite3.Connection, job: int) -> list[Block]:
    """The blocks that are not packed for good, in order (index block_to_pack)."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = ? AND level < 2 ORDER BY logged_at_from", (job,)
    )
    return [Block._make(row) for row in found]


def _room(block: Block, end: int | None, pending: Sequence[Counted]) -> int:
    """How many of the sorted snapshots the block takes: up to its end, or until it is full."""
    if end is not None:
        return bisect_left(pending, end, key=_logged_at)
    filled = min(max(FULL - block.size, 1), len(pending))
    size = block.bytes
    for i, row in enumerate(pending[:filled]):
        size += row.bytes
        if size > FULL_BYTES:
            filled = max(i, 1)
            break
    last = max(block.logged_at_max, pending[filled - 1].logged_at)
    return bisect_right(pending, last, key=_logged_at)


def _logged_at(row: Counted) -> int:
    return row.logged_at


def _block_of(
    connection: sqlite3.Connection, job: int, row: Counted, newest: Block | None
) -> tuple[Block, int | None]:
    """The block that a snapshot falls into, and where the next begins."""
    if newest is not None and row.logged_at >= newest.logged_at_from:
        return _next(newest, row), None
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM block WHERE job = ? AND logged_at_from <= ?"
        " ORDER BY logged_at_from DESC LIMIT 1",
        (job, row.logged_at),
    ).fetchone()
    if found is None:
        return _empty(0, row), None
    block = Block._make(found)
    (end,) = connection.execute(
        "SELECT min(logged_at_from) FROM block WHERE job = ? AND logged_at_from > ?",
        (job, row.logged_at),
    ).fetchone()
    return (_next(block, row) if end is None else block), end


def _next(newest: Block, row: Counted) -> Block:
    """The newest block, or one that a snapshot begins because that is full."""
    full = newest.size >= FULL or newest.bytes >= FULL_BYTES or newest.segment is not None
    if full and row.logged_at > newest.logged_at_max:
        return _empty(row.logged_at, row)
    return newest


def _empty(logged_at_from: int, row: Counted) -> Block:
    return Block(
        logged_at_from,
        row.logged_at,
        0,
        0,
        row.global_step,
        row.global_step,
        row.attempt,
        row.attempt,
        row.arrival,
        row.arrival,
        0,
    )


def save(connection: sqlite3.Connection, job: int, block: Block) -> None:
    """Write a block, in place of one that begins at the same time."""
    connection.execute(
        f"INSERT OR REPLACE INTO block (job, {_COLUMNS}) VALUES (?{',?' * len(block)})",
        (job, *block),
    )


def _split(connection: sqlite3.Connection, job: int, block: Block) -> None:
    """Cut a block at its middle time, if its times differ; uses the primary key.

    Only up to the block's last time: what is stored after it may not have been counted yet.
    """
    (middle,) = connection.execute(
        "SELECT logged_at FROM snapshot WHERE job = ? AND logged_at BETWEEN ? AND ?"
        " ORDER BY logged_at LIMIT 1 OFFSET ?",
        (job, block.logged_at_from, block.logged_at_max, block.size // 2),
    ).fetchone()
    halves = [
        (low, _totals(connection, job, low, high))
        for low, high in (
            (block.logged_at_from, middle - 1),
            (middle, block.logged_at_max),
        )
    ]
    if all(totals[0] is not None for _, totals in halves):
        for low, totals in halves:
            save(connection, job, Block._make((low, *totals, None, None, 0)))


def _totals(connection: sqlite3.Connection, job: int, low: int, high: int) -> tuple[int, ...]:
    """A block's columns after the first, counted from rows; None each if there are no rows."""
    totals: tuple[int, ...] = connection.execute(
        "SELECT max(logged_at), sum(1 - is_eval), sum(is_eval), min(global_step),"
        " max(global_step), min(attempt), max(attempt), min(arrival), max(arrival),"
        " sum(length(line))"
        " FROM snapshot WHERE job = ? AND logged_at BETWEEN ? AND ?",
        (job, low, high),
    ).fetchone()
    return totals
