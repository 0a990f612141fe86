"""What a share link shows of a project: its jobs, to be read, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from tunelog.access import Share
from tunelog.errors import Forbidden, NotFound
from tunelog.model import (
    ALL,
    Attempt,
    Changes,
    Checkpoint,
    Column,
    Event,
    FoundJobs,
    Job,
    JobQuery,
    Reading,
    SnapshotQuery,
    Summary,
)
from tunelog.store import Store


class SharedJobs:
    """A store in which there are only a share link's jobs, and nothing can be changed.

    A job that was made later under the id of one that was shared is not shown.
    """

    def __init__(self, store: Store, share: Share) -> None:
        self._store = store
        self._share = share

    def job(self, job_id: str) -> Job:
        """One job."""
        if job_id in self._share.jobs:
            job = self._store.job(job_id)
            if job.created_at <= self._share.created_at:
                return job
        raise NotFound(f"no job {job_id}")

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first."""
        return self.find_jobs(JobQuery(name=name, limit=limit)).jobs

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them."""
        found = [job for job in map(self._job_if_there, self._share.jobs) if job is not None]
        found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        return query.page([job for job in found if query.matches(job)])

    def _job_if_there(self, job_id: str) -> Job | None:
        try:
            return self.job(job_id)
        except NotFound:  # deleted since
            return None

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        return self._store.attempts(self.job(job_id).id)

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        return self._store.events(self.job(job_id).id)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        return self._store.checkpoints(self.job(job_id).id)

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order."""
        return self._store.read(self.job(job_id).id, query)

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects, in the order first logged."""
        return self._store.columns(self.job(job_id).id, query)

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots."""
        return self._store.summarize(self.job(job_id).id, query)

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after`."""
        return self._store.changes(self.job(job_id).id, query, limit=limit)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse what is not the reading of a job."""
        raise Forbidden("a share link only lets its jobs be read")

    append = _refuse
    submit = _refuse
    create_job = update_job = cancel_job = delete_job = _refuse
    open_attempt = add_event = add_checkpoint = _refuse
    create_share = shares = revoke_share = _refuse
