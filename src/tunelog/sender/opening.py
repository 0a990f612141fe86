"""Entering a job: registering it, or going on with it, and opening the attempt.

Every step may be repeated, after a crash or from a copy of the spool, and ends in the same job and
attempt. A sender knows that it was in a job before by the events there that bear its spool's token.
"""

from __future__ import annotations

from msgspec import Struct

from tunelog.errors import Forbidden
from tunelog.model import ENDED, NOT_STARTED, Job, JobChanges, JobDetails
from tunelog.sender.records import AttemptRecord, JobRecord
from tunelog.store import Store


class Opened(Struct, frozen=True):
    """An attempt that was opened.

    Attributes:
        job_id: the job that it is of.
        attempt: its number.
        notes: what the job's events should say of it, by name.
    """

    job_id: str
    attempt: int
    notes: dict[str, str]


def open_attempt(
    store: Store, record: JobRecord, attempt: AttemptRecord, token: str, job_id: str
) -> Opened:
    """Open an attempt, of the job that was entered before if `job_id` says so.

    A job that had ended with an error, or was cancelled, runs again by it. One that was cancelled
    before it ever began does not: its trainer hears from the first receipt that it should stop.
    """
    if job_id:
        opened = store.open_attempt(job_id, attempt.from_step, attempt.open_id)
        return Opened(job_id, opened.attempt, {})
    own = (token, attempt.open_id.partition(".")[0])
    job, notes = _enter(store, record, own)
    has_ended = job.status in ENDED and job.started_at is not None
    again = has_ended and not _was_here(store, job.id, own)
    opened = store.open_attempt(job.id, attempt.from_step, attempt.open_id)
    if again:
        store.update_job(job.id, JobChanges(status="running"))
    return Opened(job.id, opened.attempt, notes)


def is_newest(store: Store, job_id: str, attempt: int, token: str) -> bool:
    """Whether no later attempt was opened; taken for so if the key may not ask.

    Attempts under ids that begin with the spool's token do not count: they are what the command of
    `tunelog run` opened, whose end this spool tells.
    """
    try:
        return all(
            other.attempt <= attempt or (other.open_id or "").startswith(token)
            for other in store.attempts(job_id)
        )
    except Forbidden:
        return True


def _enter(store: Store, record: JobRecord, own: tuple[str, ...]) -> tuple[Job, dict[str, str]]:
    details, refused = record.valid_details()
    notes = {}
    if refused:
        notes["details"] = f"Some of the job's details do not fit and were left out: {refused}"
    job = _named(store, record, details) or store.create_job(details, record.id)
    if _is_closed(job, record.resume) and not _was_here(store, job.id, own):
        notes["fallback"] = f"Job {job.id} is {job.status}; this training is a job of its own."
        job = store.create_job(details, record.fallback_id)
    return job, notes


def _named(store: Store, record: JobRecord, details: JobDetails) -> Job | None:
    """The newest job of the name, if that is what is to be entered and the key may ask."""
    if not record.by_name or not details.name:
        return None
    try:
        return next(iter(store.jobs(name=details.name, limit=1)), None)
    except Forbidden:
        return None


def _is_closed(job: Job, resume: str) -> bool:
    """Whether a new training must not go on with this job."""
    if resume == "auto":
        return job.status == "completed"
    return resume == "never" and job.status not in NOT_STARTED


def _was_here(store: Store, job_id: str, own: tuple[str, ...]) -> bool:
    """Whether this attempt's events are in the job; taken for not so if the key may not ask.

    `own` is what their ids begin with: the spool's token, or what its attempt is opened under,
    which other writers of the attempt have in common with it, up to a dot: what comes behind one
    tells apart the attempts of one `tunelog run`.
    """
    try:
        return any((event.id or "").startswith(own) for event in store.events(job_id))
    except Forbidden:
        return False
