"""Rows of jobs, attempts, events and checkpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from tunelog import lifecycle
from tunelog.errors import NotFound
from tunelog.model import Attempt, Checkpoint, Event, Job, JobDetails

JOB = (
    "id, status, created_at, updated_at, heard_at, started_at, ends_at, silent, details,"
    " no, arrivals, status_arrival"
)
"""The columns of a job's row, as `entry` takes them."""

_decode_details = msgspec.json.Decoder(JobDetails).decode
_encode = msgspec.json.Encoder().encode

Item = TypeVar("Item", Event, Checkpoint)


class Entry(NamedTuple):
    """A job and where it stands in its arrivals."""

    job: Job
    no: int
    arrivals: int
    status_arrival: int


def find(connection: sqlite3.Connection, project: str, job_id: str) -> Entry | None:
    """The project's job of this id (index job_by_id)."""
    row = connection.execute(
        f"SELECT {JOB} FROM job WHERE project = ? AND id = ?", (project, job_id)
    ).fetchone()
    return None if row is None else entry(row)


def get(connection: sqlite3.Connection, project: str, job_id: str) -> Entry:
    """The project's job of this id, or `NotFound`."""
    found = find(connection, project, job_id)
    if found is None:
        raise NotFound(f"no job {job_id}")
    return found


def silent(connection: sqlite3.Connection, heard_before: int) -> list[Entry]:
    """Jobs of any project that should have been heard since (index job_by_word)."""
    rows = connection.execute(
        f"SELECT {JOB} FROM job WHERE heard_at < ? AND status IN ('running', 'cancel_requested')",
        (heard_before,),
    )
    return [entry(row) for row in rows]


def entry(row: tuple[object, ...]) -> Entry:
    """A job's row as a job."""
    fields = dict(zip(JOB.split(", "), row, strict=True))
    no, arrivals, status_arrival = (fields.pop(n) for n in ("no", "arrivals", "status_arrival"))
    fields["silent"] = bool(fields["silent"])
    fields["details"] = _decode_details(fields["details"])  # type: ignore[arg-type]
    return Entry(Job(**fields), no, arrivals, status_arrival)  # type: ignore[arg-type]


def insert(connection: sqlite3.Connection, project: str, moved: lifecycle.Moved) -> None:
    """Add a new job and its first events."""
    job, events = moved
    cursor = connection.execute(
        "INSERT INTO job (project, id, name, status, created_at, updated_at, heard_at, started_at,"
        " ends_at, silent, details, arrivals, status_arrival) VALUES (?,?,?,?,?,?,?,?,?,?,?,1,1)",
        (
            project,
            job.id,
            job.details.name,
            job.status,
            job.created_at,
            job.updated_at,
            job.heard_at,
            job.started_at,
            job.ends_at,
            job.silent,
            _encode(job.details),
        ),
    )
    add_events(connection, int(cursor.lastrowid or 0), events)


def move(connection: sqlite3.Connection, old: Entry, moved: lifecycle.Moved) -> Entry:
    """Write a job's new state, its events, and how far its arrivals have come."""
    job, events = moved
    arrivals, status_arrival = old.arrivals, old.status_arrival
    if job.status != old.job.status:
        arrivals = status_arrival = arrivals + 1
    connection.execute(
        "UPDATE job SET status = ?, updated_at = ?, heard_at = ?, started_at = ?, ends_at = ?,"
        " silent = ?, arrivals = ?, status_arrival = ? WHERE no = ?",
        (
            job.status,
            job.updated_at,
            job.heard_at,
            job.started_at,
            job.ends_at,
            job.silent,
            arrivals,
            status_arrival,
            old.no,
        ),
    )
    if job.details is not old.job.details:
        connection.execute(
            "UPDATE job SET name = ?, details = ? WHERE no = ?",
            (job.details.name, _encode(job.details), old.no),
        )
    add_events(connection, old.no, events)
    return Entry(job, old.no, arrivals, status_arrival)


def put(
    connection: sqlite3.Connection, project: str, job: Job, arrivals: int, status_arrival: int
) -> int:
    """Write a job as it is, whether it is there or not; answer its number."""
    fields = {
        "project": project,
        **msgspec.structs.asdict(job),
        "name": job.details.name,
        "details": _encode(job.details),
        "arrivals": arrivals,
        "status_arrival": status_arrival,
    }
    changed = ", ".join(f"{name} = excluded.{name}" for name in fields)
    (no,) = connection.execute(
        f"INSERT INTO job ({', '.join(fields)}) VALUES (:{', :'.join(fields)})"
        f" ON CONFLICT (project, id) DO UPDATE SET {changed} RETURNING no",
        fields,
    ).fetchone()
    return int(no)


def delete(connection: sqlite3.Connection, no: int) -> None:
    """Take a job out of sight; `purge` removes what is left of it."""
    connection.execute("DELETE FROM job WHERE no = ?", (no,))
    connection.execute("INSERT INTO garbage VALUES (?)", (no,))


def purge(connection: sqlite3.Connection) -> bool:
    """Remove some rows of deleted jobs; False when nothing is left to remove."""
    garbage = connection.execute("SELECT job FROM garbage LIMIT 1").fetchone()
    if garbage is None:
        return False
    packed = connection.execute(
        "DELETE FROM segment WHERE id IN"
        " (SELECT segment FROM block WHERE job = ? AND segment IS NOT NULL LIMIT 50)",
        garbage,
    )
    if packed.rowcount:
        connection.execute(
            "DELETE FROM block WHERE job = ? AND segment IS NOT NULL"
            " AND segment NOT IN (SELECT id FROM segment)",
            garbage,
        )
        return True
    end = connection.execute(
        "SELECT logged_at FROM snapshot WHERE job = ? ORDER BY logged_at LIMIT 1 OFFSET 2000",
        garbage,
    ).fetchone()
    if end is not None:
        connection.execute(
            "DELETE FROM snapshot WHERE job = ? AND logged_at <= ?", (*garbage, *end)
        )
        return True
    for table in (
        "snapshot",
        "block",
        "shape",
        "metric",
        "received",
        "attempt",
        "event",
        "checkpoint",
        "garbage",
    ):
        connection.execute(f"DELETE FROM {table} WHERE job = ?", garbage)
    return True


# ---------------------------------------------------------------- attempts


def attempts(connection: sqlite3.Connection, job: int) -> list[Attempt]:
    """The job's attempts by number."""
    rows = connection.execute(
        "SELECT attempt, from_step, first_step, opened_at, open_id FROM attempt WHERE job = ?"
        " ORDER BY attempt",
        (job,),
    )
    return [
        Attempt(
            attempt=number,
            from_step=from_step,
            first_step=first_step,
            opened_at=opened_at,
            open_id=open_id,
        )
        for number, from_step, first_step, opened_at, open_id in rows
    ]


def open_attempt(
    connection: sqlite3.Connection, old: Entry, from_step: int | None, open_id: str | None, now: int
) -> Attempt:
    """Open the next attempt, or answer the one opened under `open_id`."""
    current = move(connection, old, lifecycle.heard(old.job, now))
    if open_id is not None:
        opened = connection.execute(
            "SELECT attempt, from_step FROM attempt WHERE job = ? AND open_id = ?",
            (old.no, open_id),
        ).fetchone()
        if opened is not None:
            if from_step is not None and opened[1] is None:
                _state_from_step(connection, current, opened[0], from_step)
            return next(a for a in attempts(connection, old.no) if a.attempt == opened[0])
    (last,) = connection.execute(
        "SELECT max(attempt) FROM attempt WHERE job = ?", (old.no,)
    ).fetchone()
    arrivals = current.arrivals + (from_step is not None)
    attempt, events = lifecycle.opened((last or 0) + 1, from_step, open_id, now)
    put_attempt(connection, old.no, attempt, 0 if from_step is None else arrivals)
    connection.execute("UPDATE job SET arrivals = ? WHERE no = ?", (arrivals, old.no))
    add_events(connection, old.no, events)
    return attempt


def put_attempt(
    connection: sqlite3.Connection, job: int, attempt: Attempt, superseding: int
) -> None:
    """Add an attempt, and the arrival of the change by which it superseded the most."""
    connection.execute(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            job,
            attempt.attempt,
            attempt.from_step,
            attempt.first_step,
            superseding,
            attempt.open_id,
            attempt.opened_at,
        ),
    )


def _state_from_step(
    connection: sqlite3.Connection, current: Entry, attempt: int, from_step: int
) -> None:
    """Say of an attempt that was opened without it where it begins."""
    connection.execute(
        "UPDATE attempt SET from_step = ? WHERE job = ? AND attempt = ?",
        (from_step, current.no, attempt),
    )
    arrivals = lower_first_step(connection, current.no, attempt, from_step, current.arrivals)
    connection.execute("UPDATE job SET arrivals = ? WHERE no = ?", (arrivals, current.no))


def lower_first_step(
    connection: sqlite3.Connection, job: int, attempt: int, step: int, arrivals: int
) -> int:
    """Let the attempt supersede from a step on, unless it does already; answer the newest arrival.

    What an attempt supersedes is a change like any other, so it has an arrival.
    """
    lowered = connection.execute(
        "UPDATE attempt SET first_step = ?, superseding = ?"
        " WHERE job = ? AND attempt = ? AND (first_step IS NULL OR first_step > ?)",
        (step, arrivals + 1, job, attempt, step),
    ).rowcount
    return arrivals + lowered


# ---------------------------------------------------------------- events and checkpoints


def add_events(connection: sqlite3.Connection, job: int, events: tuple[Event, ...]) -> None:
    """Append events of the job's own life."""
    for event in events:
        add_once(connection, job, event)


def add_once(connection: sqlite3.Connection, job: int, item: Item) -> Item:
    """Append an event or checkpoint, or answer the one of its id."""
    table = type(item).__name__.lower()
    if item.id is not None:
        known = connection.execute(
            f"SELECT {table} FROM {table} WHERE job = ? AND id = ?", (job, item.id)
        ).fetchone()
        if known is not None:
            return msgspec.json.decode(known[0], type=type(item))
    connection.execute(
        f"INSERT INTO {table} (job, id, {table}) VALUES (?, ?, ?)", (job, item.id, _encode(item))
    )
    return item


def replace(
    connection: sqlite3.Connection, job: int, kind: type[Item], items: Sequence[Item]
) -> None:
    """Have exactly these events or checkpoints, which came in this order."""
    if list(items) == added(connection, job, kind):
        return
    table = kind.__name__.lower()
    connection.execute(f"DELETE FROM {table} WHERE job = ?", (job,))
    connection.executemany(
        f"INSERT INTO {table} (job, id, {table}) VALUES (?, ?, ?)",
        [(job, item.id, _encode(item)) for item in items],
    )


def items(connection: sqlite3.Connection, job: int, kind: type[Item]) -> list[Item]:
    """The job's events or checkpoints, oldest first; of one moment, as they came."""
    return sorted(added(connection, job, kind), key=lambda item: item.created_at)


def added(connection: sqlite3.Connection, job: int, kind: type[Item]) -> list[Item]:
    """The job's events or checkpoints as they came."""
    table = kind.__name__.lower()
    rows = connection.execute(f"SELECT {table} FROM {table} WHERE job = ? ORDER BY no", (job,))
    return [msgspec.json.decode(text, type=kind) for (text,) in rows]
