"""A job and all that belongs to it, as the memory backend holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from tunelog import lifecycle
from tunelog.backends.kept import snapshot_of
from tunelog.model import Attempt, Checkpoint, Event, Job, Snapshot
from tunelog.portable import JobState, KeptSnapshot


@dataclass(frozen=True)
class Stored:
    """A snapshot and where it stands."""

    snapshot: Snapshot
    line: bytes
    exact: bytes | None
    attempt: int
    writer: int
    seq: int
    arrival: int

    @property
    def position(self) -> tuple[int, int, int, int]:
        """What reads sort by."""
        return self.snapshot.logged_at, self.attempt, self.writer, self.seq

    def kept(self, origin: int) -> KeptSnapshot:
        """The same for another backend; arrivals are counted from `origin`."""
        return KeptSnapshot(
            self.attempt,
            self.writer,
            self.seq,
            origin + self.arrival,
            self.snapshot.kind,
            self.snapshot.global_step,
            self.snapshot.logged_at,
            self.line,
            self.exact,
        )


@dataclass
class AttemptRecord:
    """An attempt and the arrival of the change that superseded the most."""

    attempt: Attempt
    superseding: int = 0


@dataclass
class Record:
    """A job and all that belongs to it."""

    job: Job
    arrivals: int = 0
    status_arrival: int = 0
    snapshots: list[Stored] = field(default_factory=list)
    identities: set[tuple[int, int, int]] = field(default_factory=set)
    attempts: dict[int, AttemptRecord] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def arrive(self) -> int:
        """The next arrival."""
        self.arrivals += 1
        return self.arrivals

    def move(self, moved: lifecycle.Moved) -> None:
        """Take over a job's new state and its events."""
        job, events = moved
        if job.status != self.job.status:
            self.status_arrival = self.arrive()
        self.job = job
        self.events.extend(events)

    def cutoff(self, attempt: int) -> int | None:
        """The step from which on `attempt` is superseded, None if it is not."""
        later = [a.attempt.first_step for n, a in self.attempts.items() if n > attempt]
        return min((step for step in later if step is not None), default=None)

    # ------------------------------------------------------------ moving

    @property
    def _origin(self) -> int:
        """What cursors count arrivals from."""
        return int(self.job.cursor(0))

    def state(self) -> JobState:
        """All of the job but its snapshots."""
        origin, numbered = self._origin, sorted(self.attempts.items())
        return JobState(
            job=self.job,
            arrival=origin + self.arrivals,
            status_arrival=origin + self.status_arrival,
            attempts=tuple(entry.attempt for _, entry in numbered),
            superseding={n: origin + e.superseding for n, e in numbered if e.superseding},
            events=tuple(self.events),
            checkpoints=tuple(self.checkpoints),
        )

    def stored(self, after: int, limit: int) -> list[KeptSnapshot]:
        """The next snapshots that arrived after `after`."""
        origin = self._origin
        later = (stored for stored in self.snapshots if origin + stored.arrival > after)
        return [stored.kept(origin) for stored in islice(later, limit)]

    def adopt(self, state: JobState) -> None:
        """Become what `state` says, snapshots aside."""
        self.job = state.job
        origin = self._origin
        self.arrivals = max(0, state.arrival - origin)
        self.status_arrival = max(0, state.status_arrival - origin)
        self.attempts = {
            attempt.attempt: AttemptRecord(
                attempt, max(0, state.superseding.get(attempt.attempt, 0) - origin)
            )
            for attempt in state.attempts
        }
        self.events, self.checkpoints = list(state.events), list(state.checkpoints)

    def add(self, snapshots: Sequence[KeptSnapshot]) -> None:
        """Take over the next snapshots as they are."""
        origin = self._origin
        for kept in snapshots:
            if kept.arrival - origin > self.arrivals:
                self.arrivals = kept.arrival - origin
                self.identities.add((kept.attempt, kept.writer, kept.seq))
                self.snapshots.append(_stored(kept, self.arrivals))


def _stored(kept: KeptSnapshot, arrival: int) -> Stored:
    return Stored(
        snapshot_of(kept),
        kept.line,
        kept.exact,
        kept.attempt,
        kept.writer,
        kept.seq,
        arrival,
    )
