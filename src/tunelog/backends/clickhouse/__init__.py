"""The distributed backend: a ClickHouse cluster, spoken to over its HTTP interface.

`address` says which servers there are, `node` speaks to one, `shard` to the replicas that hold the
same; `schema` makes the tables and looks whether they are ours, `doctor` whether all is well.
`records` and `rows` are what the two tables hold, `state` what is kept of a job as a whole. To
write, `committing` gathers what waits, `owning` sees to it that one process at a time writes a job,
for which `copying` makes replicas alike that are not, and `works` are the changes; `together` makes
one block of those of several processes, which hand them to one another by `lane` and `reception` as
`company` finds. To read, `filters` say what matches, `planning` how much that is at one moment;
`reading` gives it, whole by `streaming` or by `few`, `sampling` picks, with `hot` where a job is
read again and again; `summing` sums up, by what `extracting` gives; `arriving` tells what came
since; `listing` lists jobs, and `moving` takes them elsewhere. `keyring` keeps keys and share
links, and `principals` remembers whose a secret is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from tunelog import lifecycle
from tunelog.access import Project, Share
from tunelog.backends.clickhouse import (
    address,
    arriving,
    moving,
    purging,
    reading,
    records,
    schema,
    state,
    summing,
    works,
)
from tunelog.backends.clickhouse.address import Address
from tunelog.backends.clickhouse.committing import Committer, Work
from tunelog.backends.clickhouse.company import Company
from tunelog.backends.clickhouse.keyring import ClickHouseKeyring
from tunelog.backends.clickhouse.lane import Lane
from tunelog.backends.clickhouse.listing import Listing
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.owning import Owned
from tunelog.backends.clickhouse.purging import Purger
from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.backends.secrets import new_share
from tunelog.errors import LimitExceeded, NotFound
from tunelog.ids import new_id
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
from tunelog.portable import JobState as PortableState
from tunelog.portable import KeptSnapshot

Clock = Callable[[], int]

MOST_BATCH_ROWS = 1_000_000
"""ClickHouse stores so many rows in one block, which is there whole or not at all."""


def migrate(url: str) -> str:
    """Make the database and the tables of a store URL on every server; say what is there now.

    Raises:
        InvalidRequest: the URL cannot be understood.
        StoreUnavailable: a server is away.
        StoreUnusable: a server is too old, or has other tables under these names.
    """
    place = address.parse(url)
    shards = _connect(place)
    try:
        return schema.migrate(place, shards)
    finally:
        for shard in shards:
            shard.close()


class ClickHouseBackend(ClickHouseKeyring):
    """Every project's jobs, and the keys, in a ClickHouse cluster."""

    remote = True

    def __init__(self, url: str, clock: Clock = time.time_ns) -> None:
        """Connect to the cluster of a store URL, whose tables `migrate` made.

        Args:
            url: as in `address.FORM`.
            clock: tells the time in nanoseconds since the epoch.

        Raises:
            InvalidRequest: the URL cannot be understood.
            StoreUnavailable: a shard of which no server can be reached.
            StoreUnusable: it cannot be used as a store.
        """
        self.address = address.parse(url)
        self.shards = _connect(self.address)
        try:
            schema.check(self.address, self.shards)
        except BaseException:
            for shard in self.shards:
                shard.close()
            raise
        super().__init__(self.shards[0], clock)
        self.copies = self.shards[0].copies
        self._company = Company(self.shards, alone=self.address.is_private)
        self._committers = [Committer(lane, clock) for lane in self.lanes]
        self._listing = Listing(self.shards)
        self._purger = Purger(self.purge)

    def store(self, project: Project) -> ClickHouseStore:
        """The project's jobs."""
        return ClickHouseStore(self, project.id, self._clock)

    @property
    def lanes(self) -> Sequence[Lane]:
        """How this process writes each shard."""
        return self._company.lanes

    def committer(self, number: int) -> Committer:
        """What writes a job of this number."""
        return self._committers[number % len(self.shards)]

    def shard(self, number: int) -> Shard:
        """The shard that a job of this number is on."""
        return self.shards[number % len(self.shards)]

    def state(self, number: int) -> JobState | None:
        """The job of this number as it is on record, and heard of as far as this process knows."""
        found = self.shard(number).record(f"kind = {Kind.STATE:d} AND job = {number}")
        return None if found is None else self._heard(number, state.decode(found.body))

    def states(self, project: str | None = None) -> list[tuple[int, JobState]]:
        """The jobs that there are, of one project or of all, with their numbers."""
        listed = self._listing.states(project)
        return [(number, self._heard(number, each)) for number, each in listed]

    def _heard(self, number: int, found: JobState) -> JobState:
        owned = self.committer(number).owned(number)
        mine = None if owned is None else owned.live
        if mine is None or mine.born != found.born or mine.job.heard_at <= found.job.heard_at:
            return found
        job = msgspec.structs.replace(found.job, heard_at=mine.job.heard_at)
        return msgspec.structs.replace(found, job=job)

    def end_silent_jobs(self, heard_before: int) -> Sequence[str]:
        """End jobs without a word from their writers since `heard_before`."""
        ended = []
        for number, each in self.states():
            mine = self.committer(number).owned(number) is not None
            margin = 0 if mine else works.HEARD_NS  # what another process heard since
            if lifecycle.is_silent(each.job, heard_before - margin):
                do = works.fall_silent(heard_before, self._clock)
                work = Work(number, each.job.id, do)
                ended.append((each.job.id, self.committer(number).submit(work)))
        return [job_id for job_id, future in ended if future.result()]

    def purge(self, deleted_before: int) -> int:
        """Remove what is left of jobs that were deleted before this time; how many they were.

        Takes place in bulk, as ClickHouse writes whole parts of a table anew for it.
        """
        purged = 0
        for shard, committer in zip(self.shards, self._committers, strict=True):
            gone = {
                number: (version, each.job.id)
                for number, version, each in self._listing.of_shard(shard)
                if each.deleted and not each.purged and each.job.updated_at < deleted_before
            }
            purging.remove(shard, {number: version for number, (version, _) in gone.items()})
            for number, (_, job_id) in gone.items():
                committer.submit(Work(number, job_id, works.purged, creates=True)).result()
            purged += len(gone)
        return purged

    def check(self) -> None:
        """Return if the store can be read now: its first shard, as that has the keys.

        Where another is away, its jobs cannot be had; the rest can, and shall be.
        """
        self.shards[0].records(f"kind = {Kind.META:d} AND job = 0")

    def version(self) -> int | None:
        """Not known here."""
        return None

    def close(self) -> None:
        """Finish the changes that wait, then let go of the servers."""
        self._purger.close()
        for committer in self._committers:
            committer.close()
        self._company.close()
        self._principals.close()
        for shard in self.shards:
            shard.close()


class ClickHouseStore:
    """One project's jobs in a ClickHouse cluster."""

    def __init__(self, backend: ClickHouseBackend, project: str, clock: Clock) -> None:
        self._backend = backend
        self._project = project
        self._clock = clock

    # ------------------------------------------------------------ snapshots

    def append(self, job_id: str, batch: Batch) -> Receipt:
        """Store a batch whole."""
        return self.submit(job_id, batch).result()

    def submit(self, job_id: str, batch: Batch) -> Future[Receipt]:
        """Store a batch whole, without waiting for it."""
        rows = len(batch.snapshots)
        if rows > MOST_BATCH_ROWS:
            raise LimitExceeded(f"{rows} rows in a batch, more than the {MOST_BATCH_ROWS} allowed")
        return self._submit(
            job_id, works.append(batch, self._clock), room=16 + rows, adds_rows=True
        )

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order."""
        number, found = self._job(job_id)
        return reading.read(self._backend.shard(number), number, found, query)

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects, in the order first logged."""
        number, found = self._job(job_id)
        return summing.columns(self._backend.shard(number), number, found, query)

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots."""
        number, found = self._job(job_id)
        return summing.summarize(self._backend.shard(number), number, found, query)

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after`."""
        number, found = self._job(job_id)
        return arriving.changes(self._backend.shard(number), number, found, query, limit)

    # ------------------------------------------------------------ catalog

    def create_job(self, details: JobDetails, job_id: str | None = None) -> Job:
        """Register a `pending` job, or answer the one of this id."""
        if job_id is None:
            job_id = new_id("ft-")
        else:
            found = self._backend.state(records.number(self._project, job_id))
            if found is not None and not found.deleted:
                return found.job
        do = works.create(self._project, job_id, details, self._clock)
        job: Job = self._submit(job_id, do, creates=True).result()
        return job

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._job(job_id)[1].job

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first."""
        return self.find_jobs(JobQuery(name=name, limit=limit)).jobs

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them."""
        states = [each for _, each in self._backend.states(self._project)]
        found = [each for each in states if query.matches(each.job)]
        found.sort(key=lambda each: (each.job.created_at, each.made), reverse=True)
        return query.page([each.job for each in found])

    def update_job(self, job_id: str, changes: JobChanges) -> Job:
        """Change a job's status, progress or details."""
        return self._move(job_id, lambda job: lifecycle.changed(job, changes, self._clock()))

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not started, ask a running one to stop."""
        return self._move(job_id, lambda job: lifecycle.cancelled(job, self._clock()))

    def delete_job(self, job_id: str) -> None:
        """Remove a job and everything of it."""
        self._job(job_id)
        self._submit(job_id, works.delete(job_id, self._clock), creates=True).result()

    def open_attempt(
        self, job_id: str, from_step: int | None = None, open_id: str | None = None
    ) -> Attempt:
        """Open the next attempt."""
        do = works.open_attempt(from_step, open_id, self._clock)
        attempt: Attempt = self._submit(job_id, do).result()
        return attempt

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        return self._job(job_id)[1].listed_attempts()

    def add_event(self, job_id: str, event: Event) -> Event:
        """Append an event, or answer the one of its id."""
        return self._add(job_id, event)

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        told = self._told(*self._job(job_id))
        told.sort(key=lambda each: (each[1].created_at, each[0]))
        return [event for _, event in told]

    def add_checkpoint(self, job_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Append a checkpoint, or answer the one of its id."""
        return self._add(job_id, checkpoint)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        number, found = self._job(job_id)
        kept = self._items(number, found, Checkpoint)
        kept.sort(key=lambda each: (each[1].created_at, each[0]))
        return [checkpoint for _, checkpoint in kept]

    def _told(self, number: int, found: JobState) -> list[tuple[int, Event]]:
        """The job's events, those of its own life too, with the numbers that order them."""
        return [*found.events, *self._items(number, found, Event)]

    def _job(self, job_id: str) -> tuple[int, JobState]:
        number = records.number(self._project, job_id)
        found = self._backend.state(number)
        if found is None or found.deleted:
            raise NotFound(f"no job {job_id}")
        return number, found

    def _submit(
        self,
        job_id: str,
        do: Callable[[Owned], Any],
        *,
        creates: bool = False,
        room: int = 16,
        adds_rows: bool = False,
    ) -> Future[Any]:
        number = records.number(self._project, job_id)
        work = Work(number, job_id, do, creates, room, adds_rows)
        return self._backend.committer(number).submit(work)

    def _move(self, job_id: str, change: Callable[[Job], lifecycle.Moved]) -> Job:
        job: Job = self._submit(job_id, works.move(change)).result()
        return job

    def _add(self, job_id: str, item: works.Item) -> works.Item:
        shard = self._backend.shard(records.number(self._project, job_id))
        added: works.Item = self._submit(
            job_id, works.add(item, shard.records, self._clock)
        ).result()
        return added

    def _items(
        self, number: int, found: JobState, item: type[works.Item]
    ) -> list[tuple[int, works.Item]]:
        where = f"kind = {works.KIND_OF[item]:d} AND job = {number} AND version > {found.born}"
        kept = self._backend.shard(number).records(where)
        return [(each.version, msgspec.json.decode(each.body, type=item)) for each in kept]

    # ------------------------------------------------------------ moving

    def state(self, job_id: str) -> PortableState:
        """All of a job but its snapshots."""
        number, found = self._job(job_id)
        told, kept = self._told(number, found), self._items(number, found, Checkpoint)
        return moving.taken(self._backend.shard(number), number, found, told, kept)

    def stored(self, job_id: str, after: int = 0, *, limit: int = 4096) -> Sequence[KeptSnapshot]:
        """Snapshots that arrived after `after`, in order of arrival."""
        number, found = self._job(job_id)
        return moving.stored(self._backend.shard(number), number, found, after, limit)

    def adopt(self, state: PortableState) -> None:
        """Make a job exactly what `state` says, its snapshots aside."""
        shard = self._backend.shard(records.number(self._project, state.job.id))
        do = moving.adopt(shard, self._project, state)
        self._submit(state.job.id, do, creates=True).result()

    def adopt_snapshots(self, job_id: str, snapshots: Sequence[KeptSnapshot]) -> None:
        """Store a job's next snapshots as they are."""
        shard = self._backend.shard(records.number(self._project, job_id))
        self._submit(job_id, moving.adopt_snapshots(shard, snapshots), adds_rows=True).result()

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
        for job_id in share.jobs:
            self._job(job_id)
        self._backend.add_share(self._project, share, token, key_id)
        return share, token

    def shares(self) -> Sequence[Share]:
        """The project's share links, expired and revoked ones too, newest first."""
        return self._backend.shares_of(self._project)

    def revoke_share(self, share_id: str) -> Share:
        """Make a share link useless from now on."""
        return self._backend.revoke_share_of(self._project, share_id)


def _connect(place: Address) -> list[Shard]:
    return [
        Shard(
            [Node(origin, place.user, place.password, place.database) for origin in origins],
            first=records.number(str(time.time_ns())),
        )
        for origins in place.shards
    ]
