"""Storing a batch: which of its snapshots are new, and everything that must know of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunelog.backends.sqlite import blocks, catalog, packing, segments
from tunelog.backends.sqlite.frames import Row, Values
from tunelog.backends.sqlite.packing import Packer
from tunelog.errors import InvalidRequest
from tunelog.model import AUTO_SEQ, INT64_MAX, Batch, Snapshot
from tunelog.wire.snapshots import encode_snapshots

FLOAT, INT, BIG_INT = 1, 2, 4
_MOST_JOBS = 1000

Numbered = Sequence[tuple[int, Snapshot]]


def attempt_of(connection: sqlite3.Connection, job: int, asked: int | None) -> int:
    """The attempt that a batch belongs to. `InvalidRequest` if it was never opened."""
    if asked is None:
        newest = connection.execute(
            "SELECT max(attempt) FROM attempt WHERE job = ?", (job,)
        ).fetchone()
        return newest[0] or 1
    if (
        asked != 1
        and not connection.execute(
            "SELECT 1 FROM attempt WHERE job = ? AND attempt = ?", (job, asked)
        ).fetchone()
    ):
        raise InvalidRequest(f"attempt: {asked} was never opened", param="attempt")
    return asked


def receive(
    connection: sqlite3.Connection, job: int, attempt: int, batch: Batch
) -> list[tuple[int, Snapshot]]:
    """Note the batch's sequence numbers as received; answer the snapshots that are new."""
    if not batch.snapshots:
        return []
    key = (job, attempt, batch.writer)
    first = batch.first_seq
    if first is None:
        first = _next_auto_seq(connection, key)
    last = first + len(batch.snapshots) - 1
    touching = _touching(connection, key, first, last)
    known = [range(low, high + 1) for low, high in touching if high >= first and low <= last]
    fresh = [
        (seq, snapshot)
        for seq, snapshot in enumerate(batch.snapshots, first)
        if not known or not any(seq in seqs for seqs in known)
    ]
    if fresh:
        _note(connection, key, first, last, touching)
    return fresh


def note_received(
    connection: sqlite3.Connection, key: tuple[int, int, int], first: int, last: int
) -> None:
    """Note sequence numbers of a writer, (job, attempt, writer), as received."""
    _note(connection, key, first, last, _touching(connection, key, first, last))


def _touching(
    connection: sqlite3.Connection, key: tuple[int, int, int], first: int, last: int
) -> list[tuple[int, int]]:
    """The received ranges that these numbers overlap or follow on."""
    return connection.execute(
        "SELECT seq_from, seq_to FROM received WHERE job = ? AND attempt = ? AND writer = ?"
        " AND seq_from <= ? AND seq_to >= ? ORDER BY seq_from",
        (*key, last + 1, first - 1),
    ).fetchall()


def _note(
    connection: sqlite3.Connection,
    key: tuple[int, int, int],
    first: int,
    last: int,
    touching: Sequence[tuple[int, int]],
) -> None:
    if len(touching) == 1 and touching[0][1] == first - 1:
        connection.execute(
            "UPDATE received SET seq_to = ?"
            " WHERE job = ? AND attempt = ? AND writer = ? AND seq_from = ?",
            (last, *key, touching[0][0]),
        )
        return
    connection.executemany(
        "DELETE FROM received WHERE job = ? AND attempt = ? AND writer = ? AND seq_from = ?",
        [(*key, low) for low, _ in touching],
    )
    low = min([first, *(low for low, _ in touching)])
    high = max([last, *(high for _, high in touching)])
    connection.execute("INSERT INTO received VALUES (?, ?, ?, ?, ?)", (*key, low, high))


def _next_auto_seq(connection: sqlite3.Connection, key: tuple[int, int, int]) -> int:
    (last,) = connection.execute(
        "SELECT max(seq_to) FROM received"
        " WHERE job = ? AND attempt = ? AND writer = ? AND seq_from >= ?",
        (*key, AUTO_SEQ),
    ).fetchone()
    return AUTO_SEQ if last is None else last + 1


class FirstSteps:
    """The first steps of attempts, remembered, so that most batches need not look."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], int] = {}

    def forget(self) -> None:
        """Drop what is remembered."""
        self._known.clear()

    def lower(
        self, connection: sqlite3.Connection, job: int, attempt: int, fresh: Numbered, arrival: int
    ) -> int:
        """Let the attempt supersede from its lowest step on; answer the newest arrival."""
        steps = [snapshot.global_step for _, snapshot in fresh if snapshot.kind == "train"]
        lowest = min(steps, default=INT64_MAX)
        known = self._known.get((job, attempt))
        if known is not None and known <= lowest:
            return arrival
        connection.execute(
            "INSERT OR IGNORE INTO attempt (job, attempt, superseding) VALUES (?, ?, 0)",
            (job, attempt),
        )
        if not steps:
            return arrival
        if len(self._known) >= _MOST_JOBS:
            self._known.clear()
        self._known[job, attempt] = lowest
        return catalog.lower_first_step(connection, job, attempt, lowest, arrival)


class Shapes:
    """The key sets of jobs' snapshots, remembered; used by the writing thread alone."""

    def __init__(self) -> None:
        self._jobs: dict[int, _JobShapes] = {}

    def forget(self) -> None:
        """Drop what is remembered."""
        self._jobs.clear()

    def of(self, connection: sqlite3.Connection, job: int) -> _JobShapes:
        """The job's shapes."""
        known = self._jobs.get(job)
        if known is None:
            if len(self._jobs) >= _MOST_JOBS:
                self._jobs.pop(next(iter(self._jobs)))
            known = self._jobs[job] = _JobShapes(connection, job)
        return known


class _JobShapes:
    """One job's key sets and metrics."""

    def __init__(self, connection: sqlite3.Connection, job: int) -> None:
        self._job = job
        shapes = connection.execute("SELECT keys, shape FROM shape WHERE job = ?", (job,))
        self._shapes = {tuple(json.loads(keys)): shape for keys, shape in shapes}
        metrics = connection.execute(
            "SELECT name, position, numbers FROM metric WHERE job = ?", (job,)
        )
        self._metrics = {name: (position, numbers) for name, position, numbers in metrics}
        self._seen: dict[tuple[tuple[str, ...], tuple[type, ...]], int] = {}

    def shape(self, connection: sqlite3.Connection, snapshot: Snapshot) -> int:
        """The number of the snapshot's key set; notes new sets, metrics and kinds of numbers."""
        values = snapshot.values
        signature = (tuple(values), tuple(map(type, values.values())))
        shape = self._seen.get(signature)
        if shape is None or int in signature[1]:
            for name, value in values.items():
                self._note(connection, name, _number(value))
            shape = self._seen[signature] = self._shape(connection, signature[0])
            if len(self._seen) > 10_000:
                self._seen.clear()
        return shape

    def _shape(self, connection: sqlite3.Connection, keys: tuple[str, ...]) -> int:
        shape = self._shapes.get(keys)
        if shape is None:
            shape = self._shapes[keys] = len(self._shapes) + 1
            connection.execute(
                "INSERT INTO shape VALUES (?, ?, ?)", (self._job, shape, json.dumps(keys))
            )
        return shape

    def _note(self, connection: sqlite3.Connection, name: str, number: int) -> None:
        position, numbers = self._metrics.get(name, (len(self._metrics), 0))
        if numbers | number != numbers:
            self._metrics[name] = (position, numbers | number)
            connection.execute(
                "INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?)",
                (self._job, position, name, numbers | number),
            )


def _number(value: int | float) -> int:
    if isinstance(value, float):
        return FLOAT
    return INT | BIG_INT if abs(value) > 2**53 else INT


class Writing(NamedTuple):
    """What the writing thread remembers: of jobs their key sets, first steps and newest blocks."""

    shapes: Shapes
    first_steps: FirstSteps
    newest: dict[int, blocks.Block]
    packer: Packer

    def forget(self) -> None:
        """Drop what may not be so any more."""
        self.shapes.forget()
        self.first_steps.forget()
        self.newest.clear()


def keep(
    connection: sqlite3.Connection,
    writing: Writing,
    place: tuple[int, int, int],
    fresh: Numbered,
    arrival: int,
) -> int:
    """Store new snapshots at (job, attempt, writer); answer the newest arrival."""
    job, attempt, writer = place
    numbers = writing.shapes.of(connection, job)
    shapes = [numbers.shape(connection, snapshot) for _, snapshot in fresh]

    def rows(part: Sequence[int]) -> tuple[list[Row], list[Values]]:
        snapshots = [fresh[i][1] for i in part]
        texts = encode_snapshots(snapshots)
        made = [
            Row(
                snapshot.logged_at,
                attempt,
                writer,
                fresh[i][0],
                1 if snapshot.kind == "eval" else 0,
                snapshot.global_step,
                shapes[i],
                arrival + 1 + i,
                exact,
                line,
            )
            for i, snapshot, (line, exact) in zip(part, snapshots, texts, strict=True)
        ]
        return made, [snapshot.values for snapshot in snapshots]

    store(connection, writing, job, [snapshot.logged_at for _, snapshot in fresh], rows)
    return arrival + len(fresh)


def store(
    connection: sqlite3.Connection,
    writing: Writing,
    job: int,
    times: Sequence[int],
    rows_of: Callable[[Sequence[int]], tuple[list[Row], list[Values]]],
) -> None:
    """Store a job's new snapshots, logged at these times; of some, by number, `rows_of` has rows.

    A part of them at a time, so that memory does not grow with the batch.
    """
    begin = packing.begin_at_once(connection, job, times)
    newest = writing.newest.pop(job, None)
    begun = False
    for part in packing.parts(times, in_order=begin is not None):
        rows, values = rows_of(part)
        if begin is not None:
            packing.pack_at_once(connection, job, rows, values, begin)
            begin, newest, begun = rows[-1].logged_at + 1, None, True
            continue
        segments.insert_rows(connection, job, rows)
        counted = list(map(blocks.counted, rows))
        new, newest = blocks.count(connection, job, counted, segments.unpack, newest)
        begun = begun or new
    if newest is not None and len(writing.newest) < _MOST_JOBS:
        writing.newest[job] = newest
    if begun:
        writing.packer.touched(job)
