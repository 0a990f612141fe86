"""The contract in its plainest form: everything in dicts and lists, gone with the process.

For tests, ours and the users', and the model that the other backends are compared with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import msgspec

from tunelog import downsample, lifecycle
from tunelog.access import Project, Share
from tunelog.backends.futures import done
from tunelog.backends.memory_keyring import MemoryKeyring
from tunelog.backends.memory_records import AttemptRecord, Record, Stored
from tunelog.backends.secrets import new_share
from tunelog.errors import InvalidRequest, NotFound
from tunelog.ids import new_id
from tunelog.model import (
    ALL,
    AUTO_SEQ,
    ROW_SEPARATOR,
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
    Snapshot,
    SnapshotArrived,
    SnapshotQuery,
    StatusChanged,
    Summary,
    Superseded,
)
from tunelog.portable import JobState, KeptSnapshot
from tunelog.wire.snapshots import encode_snapshots, keeps_every_row, matcher, renderer
from tunelog.wire.summaries import Summarizer

Clock = Callable[[], int]


class MemoryBackend(MemoryKeyring):
    """Every project's jobs, and the keys, in one process's memory."""

    remote = False
    copies = 1

    def __init__(self, clock: Clock = time.time_ns) -> None:
        """`clock` tells the time in nanoseconds since the epoch."""
        super().__init__(clock)
        self._records: dict[str, dict[str, Record]] = {}

    def store(self, project: Project) -> MemoryStore:
        """The project's jobs."""
        records = self._records.setdefault(project.id, {})
        return MemoryStore(records, self._clock, self._lock, self, project.id)

    def end_silent_jobs(self, heard_before: int) -> Sequence[str]:
        """End jobs without a word from their writers since `heard_before`."""
        ended = []
        with self._lock:
            for records in self._records.values():
                for record in records.values():
                    if lifecycle.is_silent(record.job, heard_before):
                        record.move(lifecycle.fell_silent(record.job, self._clock()))
                        ended.append(record.job.id)
        return ended

    def version(self) -> int | None:
        """Not known here."""
        return None

    def check(self) -> None:
        """Memory can always be read."""

    def close(self) -> None:
        """Nothing is held."""


class MemoryStore:
    """One project's jobs in memory."""

    def __init__(
        self,
        records: dict[str, Record],
        clock: Clock,
        lock: threading.RLock,
        keyring: MemoryKeyring,
        project: str,
    ) -> None:
        self._keyring = keyring
        self._project = project
        self._records = records
        self._clock = clock
        self._lock = lock

    def _record(self, job_id: str) -> Record:
        record = self._records.get(job_id)
        if record is None:
            raise NotFound(f"no job {job_id}")
        return record

    # ------------------------------------------------------------ snapshots

    def submit(self, job_id: str, batch: Batch) -> Future[Receipt]:
        """Store a batch whole; here, that is done at once."""
        return done(lambda: self.append(job_id, batch))

    def append(self, job_id: str, batch: Batch) -> Receipt:
        """Store a batch whole."""
        with self._lock:
            record = self._record(job_id)
            attempt = _attempt_of(record, batch)
            first = batch.first_seq
            if first is None:
                first = _next_auto_seq(record, attempt, batch.writer)
            fresh = [
                (seq, snapshot)
                for seq, snapshot in enumerate(batch.snapshots, first)
                if (attempt, batch.writer, seq) not in record.identities
            ]
            self._keep(record, attempt, batch.writer, fresh)
            now = self._clock()
            move = lifecycle.logged if fresh else lifecycle.heard
            record.move(move(record.job, now))
            return Receipt(len(fresh), len(batch.snapshots) - len(fresh), record.job.status)

    def _keep(
        self, record: Record, attempt: int, writer: int, fresh: Sequence[tuple[int, Snapshot]]
    ) -> None:
        steps = [snapshot.global_step for _, snapshot in fresh if snapshot.kind == "train"]
        if fresh and attempt not in record.attempts:
            record.attempts[attempt] = AttemptRecord(Attempt(attempt=attempt))
        if steps:
            _lower_first_step(record, record.attempts[attempt], min(steps))
        encoded = encode_snapshots([snapshot for _, snapshot in fresh])
        for (seq, snapshot), (line, exact) in zip(fresh, encoded, strict=True):
            record.identities.add((attempt, writer, seq))
            record.snapshots.append(
                Stored(snapshot, line, exact, attempt, writer, seq, record.arrive())
            )

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order."""
        with self._lock:
            record = self._record(job_id)
            matching = _matching(record, query)
            cursor = record.job.cursor(record.arrivals)
        shown = _sampled(matching, query, self.columns(job_id, query))
        return Reading(len(matching), len(shown), cursor, _chunks(shown, query))

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects, in the order first logged."""
        wanted = matcher(query.keys) if query.keys else None
        columns: dict[str, Column] = {}
        with self._lock:
            for stored in self._record(job_id).snapshots:
                for name, value in stored.snapshot.values.items():
                    if wanted is None or wanted(name):
                        columns[name] = _widened(columns.get(name), name, value)
        return list(columns.values())

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots."""
        with self._lock:
            matching = _matching(self._record(job_id), query)
        summarizer = Summarizer(query, [column.name for column in self.columns(job_id, query)])
        snapshots = (stored.snapshot for stored in matching)
        summarizer.add((each.kind, each.global_step, each.values) for each in snapshots)
        return summarizer.summary()

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after`."""
        with self._lock:
            record = self._record(job_id)
            after, cursor = record.job.arrival(query.after), record.job.cursor
            render = renderer(query)
            found: list[tuple[int, Change]] = []
            for stored in _matching(record, query):
                line = render.one(stored.line, stored.exact) if render else stored.line
                found.append((stored.arrival, SnapshotArrived(cursor(stored.arrival), line)))
            if not isinstance(query.attempt, int):
                for number, entry in record.attempts.items():
                    step = entry.attempt.first_step
                    if number > 1 and step is not None:
                        at = entry.superseding
                        found.append((at, Superseded(cursor(at), number, step)))
            at = record.status_arrival
            found.append((at, StatusChanged(cursor(at), record.job.status)))
            found = sorted((f for f in found if f[0] > after), key=lambda f: f[0])
            end = found[limit - 1][0] if len(found) > limit else record.arrivals
            return Changes([change for _, change in found[:limit]], cursor(end), len(found) > limit)

    # ------------------------------------------------------------ catalog

    def create_job(self, details: JobDetails, job_id: str | None = None) -> Job:
        """Register a `pending` job, or answer the one of this id."""
        with self._lock:
            job_id = job_id or new_id("ft-")
            if job_id not in self._records:
                job, events = lifecycle.created(job_id, details, self._clock())
                record = Record(job, events=list(events))
                record.status_arrival = record.arrive()
                self._records[job_id] = record
            return self._records[job_id].job

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._record(job_id).job

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first."""
        return self.find_jobs(JobQuery(name=name, limit=limit)).jobs

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them."""
        with self._lock:
            found = [r.job for r in self._records.values() if query.matches(r.job)]
        found.reverse()  # of jobs made at one moment, the last comes first
        return query.page(sorted(found, key=lambda job: -job.created_at))

    def update_job(self, job_id: str, changes: JobChanges) -> Job:
        """Change a job's status, progress or details."""
        with self._lock:
            record = self._record(job_id)
            record.move(lifecycle.changed(record.job, changes, self._clock()))
            return record.job

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not started, ask a running one to stop."""
        with self._lock:
            record = self._record(job_id)
            record.move(lifecycle.cancelled(record.job, self._clock()))
            return record.job

    def delete_job(self, job_id: str) -> None:
        """Remove a job and everything of it."""
        with self._lock:
            self._record(job_id)
            del self._records[job_id]

    def open_attempt(
        self, job_id: str, from_step: int | None = None, open_id: str | None = None
    ) -> Attempt:
        """Open the next attempt."""
        with self._lock:
            record = self._record(job_id)
            now = self._clock()
            record.move(lifecycle.heard(record.job, now))
            for entry in record.attempts.values():
                if open_id is not None and entry.attempt.open_id == open_id:
                    if from_step is not None and entry.attempt.from_step is None:
                        _state_from_step(record, entry, from_step)
                    return entry.attempt
            number = max(record.attempts, default=0) + 1
            attempt, events = lifecycle.opened(number, from_step, open_id, now)
            entry = record.attempts[number] = AttemptRecord(attempt)
            if from_step is not None:
                entry.superseding = record.arrive()
            record.events.extend(events)
            return attempt

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        attempts = self._record(job_id).attempts
        return [attempts[number].attempt for number in sorted(attempts)]

    def add_event(self, job_id: str, event: Event) -> Event:
        """Append an event, or answer the one of its id."""
        with self._lock:
            record = self._record(job_id)
            record.move(lifecycle.heard(record.job, self._clock()))
            return _once(record.events, event)

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        return sorted(self._record(job_id).events, key=lambda event: event.created_at)

    def add_checkpoint(self, job_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Append a checkpoint, or answer the one of its id."""
        with self._lock:
            record = self._record(job_id)
            record.move(lifecycle.heard(record.job, self._clock()))
            return _once(record.checkpoints, checkpoint)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        checkpoints = self._record(job_id).checkpoints
        return sorted(checkpoints, key=lambda checkpoint: checkpoint.created_at)

    # ------------------------------------------------------------ moving

    def state(self, job_id: str) -> JobState:
        """All of a job but its snapshots."""
        with self._lock:
            return self._record(job_id).state()

    def stored(self, job_id: str, after: int = 0, *, limit: int = 4096) -> Sequence[KeptSnapshot]:
        """Snapshots that arrived after `after`, in order of arrival."""
        with self._lock:
            return self._record(job_id).stored(after, limit)

    def adopt(self, state: JobState) -> None:
        """Make a job exactly what `state` says, its snapshots aside."""
        with self._lock:
            record = self._records.setdefault(state.job.id, Record(state.job))
            record.adopt(state)

    def adopt_snapshots(self, job_id: str, snapshots: Sequence[KeptSnapshot]) -> None:
        """Store a job's next snapshots as they are."""
        with self._lock:
            self._record(job_id).add(snapshots)

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
        with self._lock:
            for job_id in share.jobs:
                self._record(job_id)
            self._keyring.add_share(self._project, share, token, key_id)
        return share, token

    def shares(self) -> Sequence[Share]:
        """The project's share links, expired and revoked ones too, newest first."""
        return self._keyring.shares_of(self._project)

    def revoke_share(self, share_id: str) -> Share:
        """Make a share link useless from now on."""
        return self._keyring.revoke_share_of(self._project, share_id)


_Item = TypeVar("_Item", Event, Checkpoint)


def _once(items: list[_Item], item: _Item) -> _Item:
    for known in items:
        if item.id is not None and known.id == item.id:
            return known
    items.append(item)
    return item


def _attempt_of(record: Record, batch: Batch) -> int:
    newest = max(record.attempts, default=1)
    attempt = newest if batch.attempt is None else batch.attempt
    if attempt != 1 and attempt not in record.attempts:
        raise InvalidRequest(f"attempt: {attempt} was never opened", param="attempt")
    return attempt


def _next_auto_seq(record: Record, attempt: int, writer: int) -> int:
    given = (s for a, w, s in record.identities if (a, w) == (attempt, writer))
    return max((seq + 1 for seq in given if seq >= AUTO_SEQ), default=AUTO_SEQ)


def _state_from_step(record: Record, entry: AttemptRecord, from_step: int) -> None:
    entry.attempt = msgspec.structs.replace(entry.attempt, from_step=from_step)
    _lower_first_step(record, entry, from_step)


def _lower_first_step(record: Record, entry: AttemptRecord, step: int) -> None:
    first = entry.attempt.first_step
    if first is None or step < first:
        entry.attempt = msgspec.structs.replace(entry.attempt, first_step=step)
        entry.superseding = record.arrive()


def _matching(record: Record, query: SnapshotQuery) -> list[Stored]:
    """The snapshots that the filters let through, in order."""
    wanted = matcher(query.keys)
    every = not query.keys or keeps_every_row(query.keys)
    after = record.job.arrival(query.after)
    cutoffs = {number: record.cutoff(number) for number in record.attempts}

    def matches(stored: Stored) -> bool:
        step, logged_at = stored.snapshot.global_step, stored.snapshot.logged_at
        cutoff = cutoffs[stored.attempt]
        return (
            stored.arrival > after
            and (query.global_step_from is None or step >= query.global_step_from)
            and (query.global_step_to is None or step <= query.global_step_to)
            and (query.logged_at_from is None or logged_at >= query.logged_at_from)
            and (query.logged_at_to is None or logged_at <= query.logged_at_to)
            and (every or any(map(wanted, stored.snapshot.values)))
            and (query.attempt in ("all", stored.attempt) or query.attempt is None)
            and (query.attempt is not None or cutoff is None or step < cutoff)
        )

    return sorted(filter(matches, record.snapshots), key=lambda stored: stored.position)


def _sampled(
    matching: list[Stored], query: SnapshotQuery, columns: Sequence[Column]
) -> list[Stored]:
    train = [stored for stored in matching if stored.snapshot.kind == "train"]
    if query.resolution is None or query.resolution >= len(train):
        return matching
    ordinals: Sequence[int]
    if query.sampling == "minmax":
        values = [stored.snapshot.values for stored in train]
        keys = [column.name for column in columns if not column.name.startswith("eval/")]
        ordinals = downsample.minmax(values, keys, len(train), query.resolution)
    else:
        ordinals = list(downsample.uniform(len(train), query.resolution))
    picked = {train[ordinal].arrival for ordinal in ordinals}
    return [s for s in matching if s.snapshot.kind == "eval" or s.arrival in picked]


def _chunks(shown: Sequence[Stored], query: SnapshotQuery) -> Iterator[bytes]:
    render = renderer(query)
    for start in range(0, len(shown), 1000):
        part = shown[start : start + 1000]
        yield ROW_SEPARATOR.join(render.one(s.line, s.exact) if render else s.line for s in part)


def _widened(column: Column | None, name: str, value: int | float) -> Column:
    is_int = isinstance(value, int)
    known = column or Column(name, has_float=False, has_int=False, has_big_int=False)
    return Column(
        name,
        has_float=known.has_float or not is_int,
        has_int=known.has_int or is_int,
        has_big_int=known.has_big_int or (is_int and abs(value) > 2**53),
    )
