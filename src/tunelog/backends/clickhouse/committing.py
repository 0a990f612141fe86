"""The writing thread of a shard: what waits is written together, then acknowledged together."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from tunelog.backends.clickhouse import works
from tunelog.backends.clickhouse.lane import Lane
from tunelog.backends.clickhouse.owning import Clock, Owned, Owner
from tunelog.backends.clickhouse.pace import LEAST
from tunelog.backends.clickhouse.together import Moment
from tunelog.errors import NotFound, StoreError, StoreUnavailable, TunelogError

MOST_ROWS: Final = 200_000
"""So many snapshots are written in one block, if no single batch has more."""

MOST_WORKS: Final = 5_000
"""So many changes are made together."""

PATIENCE: Final = 20
"""So often a change is tried anew when other processes mark its job in between."""


@dataclass
class Work:
    """A change of one job.

    Attributes:
        number: the job's number.
        job_id: its id, to say which is not there.
        do: makes the change in memory, puts what is to be written into `Owned`, answers the result.
        creates: the job need not be there.
        room: the most arrivals that it takes.
        adds_rows: whether it writes snapshots.
        future: gets the result when the change is acknowledged.
    """

    number: int
    job_id: str
    do: Callable[[Owned], Any]
    creates: bool = False
    room: int = 16
    adds_rows: bool = False
    future: Future[Any] = field(default_factory=Future)


class Committer:
    """Does the works of one shard, as many at a time as wait."""

    def __init__(self, lane: Lane, clock: Clock) -> None:
        self._lane = lane
        self._owner = Owner(lane.shard, clock)
        self._heard = self._told_heard = 0
        self._next = 0.0
        self._is_busy = False
        self._waiting: deque[Work] = deque()
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._aside = ThreadPoolExecutor(1, "tunelog-heard")
        self._telling: Future[Moment] | None = None
        self._thread = threading.Thread(target=self._run, name="tunelog-clickhouse", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Have a change made; the future tells when it is acknowledged, or why it is not."""
        with self._changed:
            if self._ended.is_set():
                raise StoreUnavailable("the store is closed")
            self._waiting.append(work)
            self._changed.notify()
        return work.future

    def owned(self, number: int) -> Owned | None:
        """The job as this process writes it, if it does."""
        return self._owner.get(number)

    def close(self) -> None:
        """Do what waits, then end."""
        with self._changed:
            self._ended.set()
            self._changed.notify()
        self._thread.join()
        self._aside.shutdown()

    def _run(self) -> None:
        while works := self._take():
            self._next = time.monotonic() + LEAST
            self._is_busy = len(works) > 1
            self._commit(works)
            self._tell_heard()
            if self._is_busy:
                self._ended.wait(max(0.0, self._next - time.monotonic()))

    def _take(self) -> list[Work]:
        """What waits, as much as goes together; nothing when all is done and no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended.is_set())
            works: list[Work] = []
            room = 0
            while self._waiting and len(works) < MOST_WORKS:
                room += self._waiting[0].room
                if works and room > MOST_ROWS:
                    break
                works.append(self._waiting.popleft())
            return works

    def _commit(self, works: Sequence[Work]) -> None:
        left = list(works)
        try:
            in_vain = 0
            while in_vain < PATIENCE:
                before, left = len(left), self._round(left)
                if not left:
                    return
                in_vain = 0 if len(left) < before else in_vain + 1
                if in_vain:
                    time.sleep(random.uniform(0, 0.01 * 2 ** min(in_vain, 6)))
            raise StoreUnavailable("other processes keep writing the same job")
        except Exception as error:
            self._owner.forget([work.number for work in left])
            for work in left:
                if not work.future.done():
                    work.future.set_exception(error)

    def _round(self, works: list[Work]) -> list[Work]:
        """Do works; answer those whose job somebody else marked meanwhile."""
        jobs: dict[int, list[Work]] = {}
        for work in works:
            jobs.setdefault(work.number, []).append(work)
        self._owner.look_again(jobs)
        self._take_over(jobs)
        outcomes: list[tuple[Work, Any]] = []
        changed = {}
        for number, its in jobs.items():
            owned = self._owner.use(number)
            if owned is not None:
                outcomes += [
                    (work, _outcome(work, owned)) for work in its if _goes_along(work, owned)
                ]
                changed[number] = owned
        lost = self._write(changed)
        for work, outcome in outcomes:
            if work.number not in lost:
                _settle(work, outcome)
        return [work for work in works if not work.future.done()]

    def _take_over(self, jobs: dict[int, list[Work]]) -> None:
        """Mark those of the jobs that this process does not write, unless there is nothing to do.

        Of a job that is not there nothing is written, unless it is to be made.
        """
        rooms = {}
        for number, its in jobs.items():
            room = sum(work.room for work in its)
            owned = self._owner.get(number)
            if owned is None or owned.room < room:
                rooms[number] = room
        if not rooms:
            return
        there, used = self._owner.look(list(rooms))
        for number in list(rooms):
            if number not in there and not any(work.creates for work in jobs[number]):
                for work in jobs[number]:
                    work.future.set_exception(NotFound(f"no job {work.job_id}"))
                del rooms[number]
        self._owner.forget(list(rooms))
        if rooms:
            self._owner.own(rooms, used)

    def _tell_heard(self) -> None:
        """From time to time, have the signs of life of all jobs written, beside the rounds.

        Each job at a time of its own would have nearly every round write to the other table, too.
        No receipt waits for them.
        """
        if self._told_heard == 0:
            self._told_heard = self._heard
        due = self._heard - self._told_heard >= works.HEARD_NS // 2
        if due and (self._telling is None or self._telling.done()):
            self._told_heard = self._heard
            if told := self._owner.heard():
                self._telling = self._aside.submit(self._lane.keep, told)

    def _write(self, changed: Mapping[int, Owned]) -> set[int]:
        """Write what waits of jobs; answer those that somebody else marked meanwhile.

        The snapshots go first, then what tells of them.
        """
        if not changed:
            return set()
        try:
            self._write_rows(changed.values())
            self._write_records(changed.values())
        except BaseException:
            self._owner.forget(changed)
            raise
        for owned in changed.values():
            owned.written()
            if owned.live:
                self._heard = max(self._heard, owned.live.job.heard_at)
        lost = self._owner.lost(list(changed))
        self._owner.lose(lost)
        return lost

    def _write_rows(self, changed: Iterable[Owned]) -> None:
        body = b"".join(row for owned in changed for row in owned.rows)
        if body:
            witness = next(owned.witness for owned in changed if owned.rows)
            self._come_at(self._lane.insert("snapshot", body, witness, again=self._is_busy))

    def _write_records(self, changed: Iterable[Owned]) -> None:
        told = [record for owned in changed for record in owned.records]
        if told:
            self._come_at(self._lane.keep(told))

    def _come_at(self, moment: Moment) -> None:
        self._next = max(self._next, moment)


def _goes_along(work: Work, owned: Owned) -> bool:
    """Whether a work may be done in the round under way.

    Snapshots are written before what tells of them. Those that come after a change of the job's
    status wait for the next round: a reader would else pass that change before it can be seen.
    """
    return not (work.adds_rows and owned.records)


def _outcome(work: Work, owned: Owned) -> Any:
    """What a work gives, or its error; nothing is to be written then."""
    before = len(owned.rows), len(owned.records)
    try:
        if owned.live is None and not work.creates:
            raise NotFound(f"no job {work.job_id}")
        return work.do(owned)
    except StoreError:
        raise
    except TunelogError as error:
        del owned.rows[before[0] :], owned.records[before[1] :]
        return error


def _settle(work: Work, outcome: Any) -> None:
    if isinstance(outcome, Exception):
        work.future.set_exception(outcome)
    else:
        work.future.set_result(outcome)
