"""Blocks: a job's snapshots counted by stretches, so that no read walks the history to count.

A block holds the snapshots from its `logged_at_from` up to the next block's. Equal times never lie
in two blocks. The newest grows to `FULL`; a snapshot that comes late is counted in the block it
falls into, which is split when it has grown to `SPLIT`.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

FULL = 1024
SPLIT = 4096


class Counted(NamedTuple):
    """What a block needs to know of a snapshot."""

    logged_at: int
    is_eval: int
    global_step: int
    attempt: int
    arrival: int
    bytes: int


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
    arrival_max: int
    bytes: int

    @property
    def size(self) -> int:
        """How many snapshots it holds."""
        return self.train + self.eval

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
            max(self.arrival_max, *arrivals),
            self.bytes + sum(sizes),
        )


_COLUMNS = ", ".join(Block._fields)


def count(connection: sqlite3.Connection, job: int, rows: Sequence[Counted]) -> None:
    """Count snapshots that were just stored."""
    pending = sorted(rows)
    while pending:
        block, end = _block_of(connection, job, pending[0])
        taken = _room(block, end, pending)
        block = block.grown(pending[:taken])
        _save(connection, job, block)
        if block.size > SPLIT:
            _split(connection, job, block)
        pending = pending[taken:]


def _room(block: Block, end: int | None, pending: Sequence[Counted]) -> int:
    """How many of the sorted snapshots the block takes: up to its end, or until it is full."""
    if end is not None:
        return bisect_left(pending, end, key=_logged_at)
    filled = min(max(FULL - block.size, 1), len(pending))
    last = max(block.logged_at_max, pending[filled - 1].logged_at)
    return bisect_right(pending, last, key=_logged_at)


def _logged_at(row: Counted) -> int:
    return row.logged_at


def _block_of(connection: sqlite3.Connection, job: int, row: Counted) -> tuple[Block, int | None]:
    """The block that a snapshot falls into, and where the next begins."""
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
    if end is None and block.size >= FULL and row.logged_at > block.logged_at_max:
        return _empty(row.logged_at, row), None
    return block, end


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
        0,
    )


def _save(connection: sqlite3.Connection, job: int, block: Block) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO block (job, {_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
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
            _save(connection, job, Block(low, *totals))


def _totals(connection: sqlite3.Connection, job: int, low: int, high: int) -> tuple[int, ...]:
    """A block's columns after the first, counted from rows; None each if there are no rows."""
    totals: tuple[int, ...] = connection.execute(
        "SELECT max(logged_at), sum(1 - is_eval), sum(is_eval), min(global_step),"
        " max(global_step), min(attempt), max(attempt), max(arrival), sum(length(line))"
        " FROM snapshot WHERE job = ? AND logged_at BETWEEN ? AND ?",
        (job, low, high),
    ).fetchone()
    return totals
