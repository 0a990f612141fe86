"""The contract that every backend keeps; `tests/store/test_store.py` is its specification.

A **store** holds the jobs of one project. A **backend** holds every project's store, and the
keys that open them. Both are synchronous and may be called from any thread.

Rules that hold for every store:

- *Durable.* A method that changes something returns after the change is on stable storage, and
  changes everything it was asked to or nothing.
- *Idempotent.* (job, attempt, writer, seq) identifies a snapshot; the first content wins.
  Jobs, attempts, events and checkpoints that carry an id of the caller's are made once.
- *Order.* Snapshots are read by `logged_at`, then attempt, writer, sequence number.
- *Effective history.* When an attempt's first step is *s*, snapshots of earlier attempts with a
  step ≥ *s* are superseded: kept, but only returned when a query's `attempt` asks for them.
- *Non-finite values* come back as they were logged.
- *Sampling* counts the train snapshots that match every filter; eval snapshots come in full.
- *Arrival.* A cursor follows the order in which changes were stored, not `logged_at`. One of a
  deleted job lies before everything of a job that is made under its id again.
- *Isolation.* A reading shows the job as it was when `read` returned, however slowly it is
  consumed, except that a job deleted meanwhile may end it with `NotFound`.

Errors: `NotFound` for a job that is not in this project, `InvalidRequest` for input that this
store cannot take, `Conflict` where a status forbids a call, `StoreUnavailable` when it cannot work.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from tunelog.access import ApiKey, Principal, Project, Scope, Share
from tunelog.model import (
    ALL,
    Attempt,
    Batch,
    Changes,
    Checkpoint,
    Column,
    Event,
    FoundJobs,
    Job,
    JobChanges,
    JobDetails,
    JobQuery,
    Reading,
    Receipt,
    SnapshotQuery,
    Summary,
)
from tunelog.portable import JobState, KeptSnapshot, Owners


class SnapshotWriter(Protocol):
    """Takes snapshots."""

    def append(self, job_id: str, batch: Batch) -> Receipt:
        """Store a batch whole. `InvalidRequest` if it names an attempt that was never opened."""
        ...

    def submit(self, job_id: str, batch: Batch) -> Future[Receipt]:
        """The same without waiting, so that a thread is not held by each of many writers.

        The receipt, or the error, comes when `append` would return or raise.
        """
        ...


class SnapshotReader(Protocol):
    """Gives snapshots back."""

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order. Chunks are made while they are consumed."""
        ...

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects, in the order first logged."""
        ...

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots; resolution does not matter."""
        ...

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after` (None: since the beginning), at most about `limit`.

        Only snapshots that are effective now are among them (by `query.attempt`); sampling does
        not apply. A `Superseded` stands before the snapshots that caused it, and may come again
        with a lower step; a query for one attempt has none.
        """
        ...


class Catalog(Protocol):
    """Knows the jobs and what belongs to them."""

    def create_job(self, details: JobDetails, job_id: str | None = None) -> Job:
        """Register a `pending` job; with an id that exists, answer that job unchanged."""
        ...

    def job(self, job_id: str) -> Job:
        """One job."""
        ...

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first; only those of this name, at most so many."""
        ...

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them: filtered, newest first, a page of them, and how many match."""
        ...

    def update_job(self, job_id: str, changes: JobChanges) -> Job:
        """Change a job's status, progress or details."""
        ...

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not started, ask a running one to stop; `Conflict` if finished."""
        ...

    def delete_job(self, job_id: str) -> None:
        """Remove a job and everything of it, at once for every reader."""
        ...

    def open_attempt(
        self, job_id: str, from_step: int | None = None, open_id: str | None = None
    ) -> Attempt:
        """Open the next attempt: 1 on a job without attempt and snapshot, else the next number.

        `from_step` is the first step that will be logged again. Opening again under one `open_id`
        answers the attempt it opened; if that had no `from_step` yet, it gets the one stated now,
        which supersedes at once.
        """
        ...

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        ...

    def add_event(self, job_id: str, event: Event) -> Event:
        """Append an event; with an id that exists, answer that event."""
        ...

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        ...

    def add_checkpoint(self, job_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Append a checkpoint; with an id that exists, answer that checkpoint."""
        ...

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        ...


class Sharing(Protocol):
    """Share links, which let anyone who has one read some jobs for some time, and nothing else.

    Only a hash of a link's token is kept. A link dies when it expires, when it is revoked, and with
    the key that it was made with.
    """

    def create_share(
        self,
        jobs: Sequence[str],
        seconds: int,
        *,
        name: str | None = None,
        key_id: str | None = None,
    ) -> tuple[Share, str]:
        """A new share link of these jobs, and its token, which cannot be had again.

        It is good for so many seconds, and as long as the key `key_id` is; at a service, the key
        that is called with. `NotFound` if one of the jobs is not in this project.
        """
        ...

    def shares(self) -> Sequence[Share]:
        """The project's share links, expired and revoked ones too, newest first."""
        ...

    def revoke_share(self, share_id: str) -> Share:
        """Make a share link useless from now on; `NotFound` if there is none of this id."""
        ...


class Store(SnapshotWriter, SnapshotReader, Catalog, Sharing, Protocol):
    """One project's jobs."""


class MovableStore(Store, Protocol):
    """One project's jobs, which can be taken to another backend as they are (`tunelog.moving`).

    A job is taken along in this order: what it was before anything arrived (`JobState.begun`),
    where it is not there yet; its snapshots as they arrived, part by part; then its state. So a
    move that ended anywhere goes on after the arrival that the job has come to, and a job whose
    states are the same in both stores is there whole.
    """

    def state(self, job_id: str) -> JobState:
        """All of a job but its snapshots, at one moment."""
        ...

    def stored(self, job_id: str, after: int = 0, *, limit: int = 4096) -> Sequence[KeptSnapshot]:
        """Snapshots that arrived after `after`, superseded ones too, in order of arrival.

        About `limit` of them, fewer where they are large, and none only if there are no more.
        """
        ...

    def adopt(self, state: JobState) -> None:
        """Make a job exactly what `state` says, its snapshots aside; make it if it is not there.

        A job of this id that is there must be the same one, made at the same time.
        """
        ...

    def adopt_snapshots(self, job_id: str, snapshots: Sequence[KeptSnapshot]) -> None:
        """Store a job's next snapshots as they are, in order of arrival.

        The job's newest arrival is then that of the last of them, and nothing else of its state
        changes. Those that do not lie after it are there already and left out.
        """
        ...


class Keyring(Protocol):
    """Projects and the keys that open them. Only a hash of a key's secret is kept."""

    def create_project(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        ...

    def projects(self) -> Sequence[Project]:
        """Every project, by name."""
        ...

    def create_key(self, project: Project, scopes: Sequence[Scope]) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be had again."""
        ...

    def keys(self, project: Project | None = None) -> Sequence[ApiKey]:
        """Keys, revoked ones too, oldest first."""
        ...

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key useless from now on, and the share links that were made with it.

        `NotFound` if there is none of this id.
        """
        ...

    def authenticate(self, secret: str) -> Principal:
        """Who this key's secret, or share link's token, belongs to; `Unauthenticated` if nobody."""
        ...

    def knows(self, secret: str) -> bool:
        """Whether `authenticate` answers to this secret without having to wait."""
        ...

    def principal(self, key_id: str) -> Principal:
        """Who the key of this id belongs to; `Unauthenticated` if it is unknown or revoked."""
        ...

    def signing_key(self) -> bytes:
        """What sessions are signed with: 32 random bytes, for ever the same in one store."""
        ...


class Backend(Keyring, Protocol):
    """One implementation of the contract, holding every project.

    Attributes:
        remote: what it keeps is behind a network, so that reads wait for it.
        copies: on how many machines a change is when it is acknowledged.
    """

    remote: bool
    copies: int

    def store(self, project: Project) -> MovableStore:
        """The project's jobs."""
        ...

    def owners(self) -> Owners:
        """Every project, key and share link with what is kept of its secret, at one moment."""
        ...

    def adopt_owners(self, owners: Owners) -> None:
        """Take these over as they are, beside those that came before, and begin or go on a move.

        `Conflict`, with nothing changed, unless this backend is empty, or a move from the backend
        with the same signing key has begun and `settle` was not called since.
        """
        ...

    def settle(self) -> None:
        """End a move into this backend, if one goes on: from now on it is written by others."""
        ...

    def end_silent_jobs(self, heard_before: int) -> Sequence[str]:
        """End jobs without a word from their writers since `heard_before` (nanoseconds).

        A `running` one becomes `error`, a `cancel_requested` one `cancelled`, each with an event.
        Answers their ids.
        """
        ...

    def check(self) -> None:
        """Return if the store can be read now; `StoreUnavailable` if not."""
        ...

    def version(self) -> int | None:
        """A number that has changed if anything has, by whichever process; None if that is unknown.

        Takes microseconds, waits for nothing.
        """
        ...

    def close(self) -> None:
        """Finish what was begun and let go of every resource."""
        ...
