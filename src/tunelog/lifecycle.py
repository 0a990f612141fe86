"""How a job moves from status to status, and the events that say so.

Pure functions: a job, what happened and when in; the job as it is then, and events, out.
Every backend applies these, so all agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from tunelog.errors import Conflict
from tunelog.model import ENDED, NOT_STARTED, Attempt, Event, Job, JobChanges, JobDetails, Status

NS = 1_000_000_000

Moved = tuple[Job, tuple[Event, ...]]

_EVENT_OF: Mapping[Status, tuple[str, str, str]] = {
    "pending": ("job_pending", "info", "The job is registered and waits to start."),
    "queued": ("job_pending", "info", "The job is queued."),
    "running": ("job_start", "info", "The job is running."),
    "compressing": ("model_compressing", "info", "The model is being compressed."),
    "uploading": ("model_uploading", "info", "The model is being uploaded."),
    "cancel_requested": ("cancel_requested", "warning", "The job was asked to stop."),
    "cancelled": ("job_stopped", "warning", "The job was cancelled."),
    "error": ("job_error", "error", "The job ended with an error."),
    "completed": ("job_complete", "info", "The job is complete."),
}


def created(job_id: str, details: JobDetails, now: int) -> Moved:
    """A new job is `pending`."""
    job = Job(
        id=job_id, status="pending", created_at=now, updated_at=now, heard_at=now, details=details
    )
    return job, (_event("pending", now),)


def heard(job: Job, now: int) -> Moved:
    """A writer gave a sign of life: a job ended by silence runs again."""
    if job.silent and job.status == "error":
        job, _ = _to(job, "running", now)
        job = msgspec.structs.replace(job, heard_at=now)
        again = Event(
            type="job_restarted",
            message="Its writer is heard again; the job goes on.",
            created_at=now,
        )
        return job, (again,)
    return msgspec.structs.replace(job, heard_at=now), ()


def logged(job: Job, now: int) -> Moved:
    """Snapshots arrived: a job that had not started runs; one that was ended by anyone stays so."""
    job, events = heard(job, now)
    if job.status in NOT_STARTED:
        return _to(job, "running", now)
    return job, events


def changed(job: Job, changes: JobChanges, now: int) -> Moved:
    """A writer changed the job. A cancel request stands until the job has ended."""
    job = msgspec.structs.replace(
        job, heard_at=now, updated_at=now, details=_merged(job.details, changes.details)
    )
    if changes.seconds_remaining is None:
        job = msgspec.structs.replace(job, ends_at=None)
    elif changes.seconds_remaining is not UNSET:
        job = msgspec.structs.replace(job, ends_at=now + changes.seconds_remaining * NS)
    status = changes.status
    if status is UNSET:
        return heard(job, now)
    job = msgspec.structs.replace(job, silent=False)  # somebody says how it stands
    if status == job.status:
        return job, ()
    if job.status == "cancel_requested" and status not in ENDED:
        return job, ()
    return _to(job, status, now)


def cancelled(job: Job, now: int) -> Moved:
    """Someone wants the job to end: at once if it has not started, else when its trainer hears."""
    if job.status in ("cancelled", "cancel_requested"):
        return job, ()
    if job.ended:
        raise Conflict(f"job {job.id} is {job.status}: a finished job cannot be cancelled")
    return _to(job, "cancelled" if job.status in NOT_STARTED else "cancel_requested", now)


def fell_silent(job: Job, now: int) -> Moved:
    """No writer was heard for too long."""
    seconds = (now - job.heard_at) // NS
    status: Status = "cancelled" if job.status == "cancel_requested" else "error"
    job, events = _to(job, status, now)
    words = f"No word from the job's writers for {seconds} s: taken for {status}."
    silence = msgspec.structs.replace(events[0], message=words)
    return msgspec.structs.replace(job, silent=True), (silence,)


def seconds_until_next_state(job: Job) -> int | None:
    """The estimate in the form the published clients expect: the stage's whole length.

    They take `seconds_remaining` for the seconds from `started_at` to the end of the stage
    (sdk-contract, section 7). None when there is no estimate.
    """
    if job.ends_at is None or job.ended:
        return None
    begin = job.started_at if job.started_at is not None else job.created_at
    return max(1, math.ceil((job.ends_at - begin) / NS))


def is_silent(job: Job, heard_before: int) -> bool:
    """Whether the job should have given a sign of life since `heard_before` and did not."""
    return job.status in ("running", "cancel_requested") and job.heard_at < heard_before


def opened(
    number: int, from_step: int | None, open_id: str | None, now: int
) -> tuple[Attempt, tuple[Event, ...]]:
    """A new attempt of a job; one that runs again says so."""
    attempt = Attempt(
        attempt=number, from_step=from_step, first_step=from_step, opened_at=now, open_id=open_id
    )
    if number == 1:
        return attempt, ()
    begin = "" if from_step is None else f" from step {from_step}"
    message = f"Attempt {number} begins{begin}."
    event = Event(type="job_restarted", message=message, created_at=now, step=from_step or 0)
    return attempt, (event,)


def _to(job: Job, status: Status, now: int) -> Moved:
    started_at = job.started_at
    if status == "running" and started_at is None:
        started_at = now
    moved = msgspec.structs.replace(
        job,
        status=status,
        updated_at=now,
        started_at=started_at,
        silent=False,
        ends_at=None if status in ENDED else job.ends_at,
    )
    return moved, (_event(status, now),)


def _event(status: Status, now: int) -> Event:
    kind, level, message = _EVENT_OF[status]
    return Event(type=kind, message=message, level=level, created_at=now)  # type: ignore[arg-type]


def _merged(details: JobDetails, changes: Mapping[str, Any]) -> JobDetails:
    if not changes:
        return details
    merged = dict(changes)
    if isinstance(merged.get("hyperparameters"), Mapping):
        merged["hyperparameters"] = {**(details.hyperparameters or {}), **merged["hyperparameters"]}
    return msgspec.structs.replace(details, **merged)
