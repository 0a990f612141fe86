"""What is kept of a job as a whole, and how it changes. Nothing here does I/O.

The rules are those of `backends.memory`, which is the model; arrivals are given by the caller.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from tunelog import lifecycle
from tunelog.errors import InvalidRequest
from tunelog.model import Attempt, Event, Job

Arrive = Callable[[], int]
"""The next arrival of the job."""

MOST_APPLIED = 16
"""So many changes are remembered as made."""


class Opened(Struct):
    """An attempt.

    Attributes:
        attempt: the attempt.
        superseding: the arrival of the change by which it superseded the most.
        token: of the call that opened it, so that the call can be made anew.
    """

    attempt: Attempt
    superseding: int = 0
    token: str | None = None


class JobState(Struct, kw_only=True):
    """A job, its attempts, and the events of its own life.

    Attributes:
        project: the id of its project.
        job: the job.
        born: everything of this job arrived after this; what lies before belongs to one that was
            deleted and whose id it bears.
        made: when it was made by the clock of the process that made it, to tell apart jobs that
            were made at one moment; nanoseconds.
        status_arrival: when its status changed for the last time.
        adopted: up to this arrival it came from another backend.
        attempts: by number.
        events: those that its status changes made, oldest first, with their arrivals.
        applied: tokens of the changes that were made last, so that one that has to be made anew is
            not made twice: what it did the first time may be on record.
        void: the arrivals, from the first to the last, of snapshots that were written and do not
            count: another process opened an attempt meanwhile, into which they went then.
        deleted: it is gone; the rest of the state is of no meaning then.
        purged: its rows are gone, too.
    """

    project: str
    job: Job
    born: int
    made: int
    status_arrival: int = 0
    adopted: int = 0
    attempts: dict[int, Opened] = {}
    events: list[tuple[int, Event]] = []
    applied: list[str] = []
    void: list[tuple[int, int]] = []
    deleted: bool = False
    purged: bool = False

    def move(self, moved: lifecycle.Moved, arrive: Arrive) -> bool:
        """Take over a job's new state and its events; whether more than its `heard_at` changed."""
        job, events = moved
        same = msgspec.structs.replace(self.job, heard_at=job.heard_at) == job and not events
        if job.status != self.job.status:
            self.status_arrival = arrive()
        self.job = job
        self.tell(events, arrive)
        return not same

    def note_applied(self, token: str) -> None:
        """A change counts as made from now on."""
        self.applied = [*self.applied[1 - MOST_APPLIED :], token]

    def make_void(self, first: int, last: int) -> None:
        """Snapshots with these arrivals do not count from now on."""
        if (first, last) not in self.void:
            self.void = [*self.void, (first, last)]

    def tell(self, events: tuple[Event, ...], arrive: Arrive) -> None:
        """Add events of the job's own life."""
        self.events = self.events + [(arrive(), event) for event in events]

    def attempt_of(self, asked: int | None) -> int:
        """The attempt that a batch belongs to. `InvalidRequest` if it was never opened."""
        attempt = max(self.attempts, default=1) if asked is None else asked
        if attempt != 1 and attempt not in self.attempts:
            raise InvalidRequest(f"attempt: {attempt} was never opened", param="attempt")
        return attempt

    def logged(self, attempt: int, lowest: int | None, arrive: Arrive) -> bool:
        """An attempt logged snapshots, `lowest` the lowest train step; whether that is news."""
        news = attempt not in self.attempts
        if news:
            self.attempts = {**self.attempts, attempt: Opened(Attempt(attempt=attempt))}
        if lowest is not None:
            news |= self._lower_first_step(self.attempts[attempt], lowest, arrive)
        return news

    def open_attempt(
        self, from_step: int | None, open_id: str | None, token: str, now: int, arrive: Arrive
    ) -> Attempt:
        """Open the next attempt, or answer the one that was opened under this id or token."""
        for opened in self.attempts.values():
            if opened.token == token:
                return opened.attempt
            if open_id is not None and opened.attempt.open_id == open_id:
                if from_step is not None and opened.attempt.from_step is None:
                    opened.attempt = msgspec.structs.replace(opened.attempt, from_step=from_step)
                    self._lower_first_step(opened, from_step, arrive)
                return opened.attempt
        number = max(self.attempts, default=0) + 1
        attempt, events = lifecycle.opened(number, from_step, open_id, now)
        superseding = 0 if from_step is None else arrive()
        self.attempts = {**self.attempts, number: Opened(attempt, superseding, token)}
        self.tell(events, arrive)
        return attempt

    def _lower_first_step(self, opened: Opened, step: int, arrive: Arrive) -> bool:
        first = opened.attempt.first_step
        if first is not None and first <= step:
            return False
        opened.attempt = msgspec.structs.replace(opened.attempt, first_step=step)
        opened.superseding = arrive()
        return True

    def listed_attempts(self) -> list[Attempt]:
        """The attempts by number."""
        return [self.attempts[number].attempt for number in sorted(self.attempts)]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(JobState).decode
