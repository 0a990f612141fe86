"""The embedded backend: one SQLite file, no other process.

`database` owns the file, `keyring` the rows of owners, `catalog` and `listing` those of jobs.
`appending` stores batches, `blocks` counts them, `packing` decides which blocks become `segments`,
and `frames` and `extremes` are what these are made of. To read, `filters` say what matches,
`planning` where it is, `scanning` walks through it; `reading` gives all of it or sums it up,
`sampling` picks, and `arriving` gives what came since. `moving` takes jobs to other backends.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from tunelog import downsample, lifecycle
from tunelog.access import Project, Share
from tunelog.backends.secrets import new_share
from tunelog.backends.sqlite import (
    appending,
    arriving,
    catalog,
    keyring,
    listing,
    moving,
    planning,
    reading,
    sampling,
)
from tunelog.backends.sqlite.database import Database
from tunelog.backends.sqlite.keyring import SqliteKeyring
from tunelog.backends.sqlite.packing import Packer
from tunelog.backends.sqlite.segments import Source
from tunelog.ids import new_id
from tunelog.model import (
    ALL,
    Attempt,
    Batch,
    Change,
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
    SnapshotArrived,
    SnapshotQuery,
    Summary,
)
from tunelog.portable import JobState, KeptSnapshot
from tunelog.wire.snapshots import renderer
from tunelog.wire.summaries import Summarizer

Clock = Callable[[], int]


class SqliteBackend(SqliteKeyring):
    """Every project's jobs, and the keys, in one SQLite file."""

    remote = False
    copies = 1

    def __init__(self, path: Path, clock: Clock = time.time_ns) -> None:
        """Open the file, creating it if it is not there.

        Args:
            path: the file; WAL keeps two more beside it.
            clock: tells the time in nanoseconds since the epoch.

        Raises:
            StoreUnusable: it cannot be used as a store.
        """
        super().__init__(Database(path), clock)
        self._writing = appending.Writing(appending.Shapes(), appending.FirstSteps(), {}, Packer())
        self._source = Source(self._database.read)
        self._database.when_idle(lambda c: catalog.purge(c) or self._writing.packer.step(c))
        self._database.when_uncertain(self._writing.forget)

    def store(self, project: Project) -> SqliteStore:
        """The project's jobs."""
        return SqliteStore(self._database, self._writing, self._source, project.id, self._clock)

    def end_silent_jobs(self, heard_before: int) -> Sequence[str]:
        """End jobs without a word from their writers since `heard_before`."""
        with self._database.read() as connection:
            if not catalog.silent(connection, heard_before):
                return []

        def end(connection: sqlite3.Connection) -> list[str]:
            silent = catalog.silent(connection, heard_before)
            for entry in silent:
                catalog.move(connection, entry, lifecycle.fell_silent(entry.job, self._clock()))
            return [entry.job.id for entry in silent]

        return self._database.write(end)

    def check(self) -> None:
        """Return if the store can be read now."""
        with self._database.read() as connection:
            connection.execute("SELECT 1 FROM project LIMIT 1").fetchone()

    def version(self) -> int | None:
        """A number that has changed if anything has, by whichever process."""
        return self._database.version()

    def close(self) -> None:
        """Finish the changes that wait, then let go of the file."""
        self._database.close()


class SqliteStore:
    """One project's jobs in a SQLite file."""

    def __init__(
        self,
        database: Database,
        writing: appending.Writing,
        source: Source,
        project: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._writing = writing
        self._source = source
        self._project = project
        self._clock = clock

    # ------------------------------------------------------------ snapshots

    def append(self, job_id: str, batch: Batch) -> Receipt:
        """Store a batch whole."""
        return self.submit(job_id, batch).result()

    def submit(self, job_id: str, batch: Batch) -> Future[Receipt]:
        """Store a batch whole, without waiting for it."""

        def store(connection: sqlite3.Connection) -> Receipt:
            entry = catalog.get(connection, self._project, job_id)
            attempt = appending.attempt_of(connection, entry.no, batch.attempt)
            fresh = appending.receive(connection, entry.no, attempt, batch)
            arrivals = entry.arrivals
            if fresh:
                arrivals = self._writing.first_steps.lower(
                    connection, entry.no, attempt, fresh, arrivals
                )
                place = (entry.no, attempt, batch.writer)
                arrivals = appending.keep(connection, self._writing, place, fresh, arrivals)
            move = lifecycle.logged if fresh else lifecycle.heard
            moved = move(entry.job, self._clock())
            entry = catalog.move(connection, entry._replace(arrivals=arrivals), moved)
            return Receipt(len(fresh), len(batch.snapshots) - len(fresh), entry.job.status)

        return self._database.submit(store)

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order."""
        plan, source = self._plan(job_id, query), self._source
        matched, cursor = plan.train + plan.eval, plan.cursor
        if not plan.sampled:
            chunks, pieces = reading.chunks(source, plan), reading.pieces(source, plan)
            return Reading(matched, matched, cursor, chunks, pieces)
        resolution = query.resolution or 0
        if query.sampling == "minmax":
            ordinals = sampling.minmax_ordinals(source, plan, resolution)
        else:
            ordinals = list(downsample.uniform(plan.train, resolution))
        chunks = sampling.chunks(source, plan, ordinals)
        return Reading(matched, len(ordinals) + plan.eval, cursor, chunks)

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects, in the order first logged."""
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            return planning.metrics(connection, entry.no, query)

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots."""
        plan = self._plan(job_id, query)
        summarizer = Summarizer(query, [column.name for column in plan.columns])
        reading.summarize(self._source, plan, summarizer)
        return summarizer.summary()

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after`."""
        render = renderer(query)
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            rows, more = arriving.snapshots(connection, entry, query, limit)
            other = arriving.other_changes(connection, entry, query)
        found: list[tuple[int, Change]] = [
            (at, SnapshotArrived(entry.job.cursor(at), render.one(line, exact) if render else line))
            for at, line, exact in rows
        ]
        end = rows[-1][0] if more else entry.arrivals
        found += [(at, change) for at, change in other if at <= end]
        found.sort(key=lambda item: item[0])
        return Changes([change for _, change in found], entry.job.cursor(end), more)

    def _plan(self, job_id: str, query: SnapshotQuery) -> planning.Plan:
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            return planning.plan(connection, self._source, entry, query)

    # ------------------------------------------------------------ catalog

    def create_job(self, details: JobDetails, job_id: str | None = None) -> Job:
        """Register a `pending` job, or answer the one of this id."""

        def create(connection: sqlite3.Connection) -> Job:
            made = job_id or new_id("ft-")
            if catalog.find(connection, self._project, made) is None:
                moved = lifecycle.created(made, details, self._clock())
                catalog.insert(connection, self._project, moved)
            return catalog.get(connection, self._project, made).job

        return self._database.write(create)

    def job(self, job_id: str) -> Job:
        """One job."""
        with self._database.read() as connection:
            return catalog.get(connection, self._project, job_id).job

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first."""
        return self.find_jobs(JobQuery(name=name, limit=limit)).jobs

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them."""
        with self._database.read() as connection:
            return listing.find(connection, self._project, query)

    def update_job(self, job_id: str, changes: JobChanges) -> Job:
        """Change a job's status, progress or details."""
        return self._move(job_id, lambda job: lifecycle.changed(job, changes, self._clock()))

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not started, ask a running one to stop."""
        return self._move(job_id, lambda job: lifecycle.cancelled(job, self._clock()))

    def delete_job(self, job_id: str) -> None:
        """Remove a job and everything of it."""

        def delete(connection: sqlite3.Connection) -> None:
            catalog.delete(connection, catalog.get(connection, self._project, job_id).no)

        self._database.write(delete)

    def open_attempt(
        self, job_id: str, from_step: int | None = None, open_id: str | None = None
    ) -> Attempt:
        """Open the next attempt."""

        def open_next(connection: sqlite3.Connection) -> Attempt:
            entry = catalog.get(connection, self._project, job_id)
            return catalog.open_attempt(connection, entry, from_step, open_id, self._clock())

        return self._database.write(open_next)

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            return catalog.attempts(connection, entry.no)

    def add_event(self, job_id: str, event: Event) -> Event:
        """Append an event, or answer the one of its id."""
        return self._add(job_id, event)

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        return self._items(job_id, Event)

    def add_checkpoint(self, job_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Append a checkpoint, or answer the one of its id."""
        return self._add(job_id, checkpoint)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        return self._items(job_id, Checkpoint)

    def _move(self, job_id: str, change: Callable[[Job], lifecycle.Moved]) -> Job:
        def move(connection: sqlite3.Connection) -> Job:
            entry = catalog.get(connection, self._project, job_id)
            return catalog.move(connection, entry, change(entry.job)).job

        return self._database.write(move)

    def _add(self, job_id: str, item: catalog.Item) -> catalog.Item:
        def add(connection: sqlite3.Connection) -> catalog.Item:
            entry = catalog.get(connection, self._project, job_id)
            entry = catalog.move(connection, entry, lifecycle.heard(entry.job, self._clock()))
            return catalog.add_once(connection, entry.no, item)

        return self._database.write(add)

    def _items(self, job_id: str, kind: type[catalog.Item]) -> Sequence[catalog.Item]:
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            return catalog.items(connection, entry.no, kind)

    # ------------------------------------------------------------ moving

    def state(self, job_id: str) -> JobState:
        """All of a job but its snapshots."""
        with self._database.read() as connection:
            return moving.state(connection, catalog.get(connection, self._project, job_id))

    def stored(self, job_id: str, after: int = 0, *, limit: int = 4096) -> Sequence[KeptSnapshot]:
        """Snapshots that arrived after `after`, in order of arrival."""
        with self._database.read() as connection:
            entry = catalog.get(connection, self._project, job_id)
            return moving.stored(connection, entry, after, limit)

    def adopt(self, state: JobState) -> None:
        """Make a job exactly what `state` says, its snapshots aside."""

        def adopt(connection: sqlite3.Connection) -> None:
            moving.adopt(connection, self._project, state)
            self._writing.first_steps.forget()

        self._database.write(adopt)

    def adopt_snapshots(self, job_id: str, snapshots: Sequence[KeptSnapshot]) -> None:
        """Store a job's next snapshots as they are."""

        def adopt(connection: sqlite3.Connection) -> None:
            entry = catalog.get(connection, self._project, job_id)
            moving.adopt_snapshots(connection, self._writing, entry, snapshots)

        self._database.write(adopt)

    # ------------------------------------------------------------ share links

    def create_share(
        self,
        jobs: Sequence[str],
        seconds: int,
        *,
        name: str | None = None,
        key_id: str | None = None,
    ) -> tuple[Share, str]:
        """A new share link of these jobs, and its token, which cannot be had again."""
        share, token = new_share(jobs, seconds, name, self._clock())

        def create(connection: sqlite3.Connection) -> None:
            for job_id in share.jobs:
                catalog.get(connection, self._project, job_id)
            keyring.add_share(connection, self._project, share, token, key_id)

        self._database.write(create)
        return share, token

    def shares(self) -> Sequence[Share]:
        """The project's share links, expired and revoked ones too, newest first."""
        with self._database.read() as connection:
            return keyring.shares(connection, self._project)

    def revoke_share(self, share_id: str) -> Share:
        """Make a share link useless from now on."""
        return self._database.write(
            lambda c: keyring.revoke_share(c, self._project, share_id, self._clock())
        )
