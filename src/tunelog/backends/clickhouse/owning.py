"""How one process at a time writes a job, without a lock and without anybody to ask.

A process that wants to write a job puts a *mark* on it: a record with a *ballot*, a number above
all that was ever used in the job. When the mark is on two replicas it loads the job, and from then
on stamps what it writes with the numbers after its ballot. After each write is on two replicas it
looks whether its mark is still the greatest; only then is the write acknowledged. If not, somebody
else marked the job in between and may have loaded it without that write; so the process marks
again, loads again, and does the work anew, under greater numbers, which count before the old ones.

So whatever was acknowledged had been written before the next mark, and whoever marks sees it. This
is the shared-memory form of Paxos (Gafni and Lamport, "Disk Paxos", 2003) with the servers for
disks: it needs nothing of them but writes to two replicas and reads from all but one.

The numbers after the ballots are the job's arrivals: they grow in the order in which changes were
acknowledged, by whichever process.
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from tunelog import lifecycle
from tunelog.backends.clickhouse import records, state
from tunelog.backends.clickhouse.copying import copy_records, copy_rows, unlike
from tunelog.backends.clickhouse.filters import one_of
from tunelog.backends.clickhouse.intervals import Intervals
from tunelog.backends.clickhouse.records import Kind, Record, listed
from tunelog.backends.clickhouse.rows import Names
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.ids import new_token
from tunelog.model import AUTO_SEQ

Clock = Callable[[], int]

SPAN: Final = 2**20
"""So many numbers belong to a ballot, if the mark does not say more."""

TAG_BITS: Final = 16
"""So many of a ballot's bits are the process's own, so that no two choose the same."""

MOST_JOBS: Final = 20_000
"""So many jobs are kept in memory as written by this process."""

CONTESTED_SECONDS: Final = 600.0
"""For so long after a job was lost, it is looked at before it is written, too."""

MOST_DOUBTS: Final = 16
"""So many times of having lost a job are remembered."""


class Mark(Struct, frozen=True):
    """What a mark says beside its ballot: whose it is, and how many numbers belong to it."""

    owner: str
    span: int = SPAN


class Owned:
    """A job that this process writes, as it is now, and what is to be written of it.

    Attributes:
        number: the job's number.
        state: None if there is no job of this id.
        received: the sequence numbers of each attempt and writer.
        names: the metrics and key sets on record.
        rows, records: what waits to be written.
        witness: a statement that counts the last of the rows.
        recorded_heard_at: the `heard_at` that is on record.
    """

    def __init__(self, number: int, ballot: int, span: int) -> None:
        self.number = number
        self.state: JobState | None = None
        self.received: dict[tuple[int, int], Intervals] = {}
        self.names = Names()
        self.rows: list[bytes] = []
        self.witness = ""
        self.records: list[Record] = []
        self.recorded_heard_at = 0
        self._ballot = ballot
        self._end = ballot + span
        self._arrival = self._written = ballot

    @property
    def ballot(self) -> int:
        """The mark's number, below all of this process's arrivals."""
        return self._ballot

    @property
    def room(self) -> int:
        """How many arrivals are left."""
        return self._end - self._arrival

    def arrive(self) -> int:
        """The next arrival."""
        self._arrival += 1
        return self._arrival

    def written(self) -> None:
        """What waited is written; whether that counts is not known before the mark is looked at."""
        self.rows, self.records = [], []

    def acknowledged(self) -> None:
        """What was written counts."""
        self._written = self._arrival

    @property
    def doubtful(self) -> tuple[int, int]:
        """The arrivals, from the first to the last, of what was written and may not count."""
        return self._written + 1, self._end

    @property
    def live(self) -> JobState | None:
        """The state, if there is a job of this id."""
        return None if self.state is None or self.state.deleted else self.state

    def record_state(self, above: int = 0) -> None:
        """Have the state written, under a number above another.

        If that takes one beyond the ballot's, there is no room left, so that the job will be marked
        anew, above that.
        """
        assert self.state is not None
        self.recorded_heard_at = self.state.job.heard_at
        version = self.arrive()
        if above >= version:
            version, self._arrival = above + 1, self._end
        body = state.encode(self.state)
        self.records.append(Record(Kind.STATE, self.number, self.state.project, version, body))

    def begin_anew(self) -> None:
        """Forget what a job had that was deleted."""
        self.received, self.names = {}, Names()


class Owner:
    """Marks and loads jobs of one shard for one process."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._shard = shard
        self._clock = clock
        self._me = new_token()
        self._tag = random.getrandbits(TAG_BITS)
        self._owned: dict[int, Owned] = {}
        self._doubtful: dict[int, list[tuple[int, int]]] = {}
        self._contested: dict[int, float] = {}

    def get(self, number: int) -> Owned | None:
        """The job, if this process writes it as far as it knows."""
        return self._owned.get(number)

    def use(self, number: int) -> Owned | None:
        """The same, which will be kept for longer then."""
        owned = self._owned.pop(number, None)
        if owned is not None:
            self._owned[number] = owned
        return owned

    def forget(self, numbers: Iterable[int]) -> None:
        """Jobs that somebody else may write now, or of which nobody knows what was written."""
        for number in numbers:
            self._owned.pop(number, None)

    def lose(self, numbers: Iterable[int]) -> None:
        """Jobs that somebody else marked while something was written of them.

        What was written shall be written anew, under greater numbers: by those that it has, a
        reader who came by in between might miss it.
        """
        for number in numbers:
            if (owned := self._owned.pop(number, None)) is not None:
                ranges = self._doubtful.setdefault(number, [])
                ranges.append(owned.doubtful)
                del ranges[:-MOST_DOUBTS]
                self._contested[number] = time.monotonic() + CONTESTED_SECONDS

    def look_again(self, numbers: Iterable[int]) -> None:
        """Forget those of these jobs that others keep marking, if they did so again.

        To look before the work costs less than to do it twice.
        """
        now = time.monotonic()
        contested = [
            number
            for number in numbers
            if number in self._owned and self._contested.get(number, 0.0) > now
        ]
        if contested:
            self.forget(list(self.lost(contested)))

    def heard(self) -> list[Record]:
        """The states of jobs that were heard of since theirs was written, to be written now.

        They say nothing else that is new, so it is no matter who writes the jobs by then: their
        versions are below those of whoever marks a job later.
        """
        told = []
        for owned in self._owned.values():
            live = owned.live
            if live and live.job.heard_at > owned.recorded_heard_at and owned.room:
                owned.record_state()
                told += owned.records
                owned.written()
        return told

    def look(self, numbers: Sequence[int]) -> tuple[set[int], dict[int, int]]:
        """Those of the jobs that there are, and the greatest number that is used in each."""
        there, used = set(), dict.fromkeys(numbers, 0)
        where = f"kind IN ({Kind.MARK:d}, {Kind.STATE:d}) AND job IN ({listed(numbers)})"
        for record in self._shard.records(where):
            last = record.version
            if record.kind == Kind.MARK:
                last += msgspec.json.decode(record.body, type=Mark).span
            elif not state.decode(record.body).deleted:
                there.add(record.job)
            used[record.job] = max(used[record.job], last)
        return there, used

    def lost(self, numbers: Sequence[int]) -> set[int]:
        """Which of these jobs somebody else has marked since.

        The marks of others are asked for, which are none as a rule; this process's own lie there
        since it put them.
        """
        owned = {number: self._owned[number] for number in numbers if number in self._owned}
        marked: Mapping[int, int] = {}
        if owned:
            least = min(each.ballot for each in owned.values())
            marked = self._shard.versions(
                f"kind = {Kind.MARK:d} AND job IN {one_of(owned, 'UInt64')}"
                f" AND version >= {least} AND position(body, '{self._me}') = 0"
            )
        kept = {each for each in owned.values() if marked.get(each.number, 0) < each.ballot}
        for each in kept:
            each.acknowledged()
        return set(numbers) - {each.number for each in kept}

    def own(self, rooms: Mapping[int, int], used: Mapping[int, int]) -> None:
        """Mark jobs and load them, each with room for so many arrivals.

        `used` is what `look` found. Jobs that somebody else marks at the same time are not among
        `get`'s afterwards.
        """
        numbers = list(rooms)
        ballots = {number: self._ballot(used[number]) for number in rooms}
        self._shard.keep(
            [
                Record(Kind.MARK, number, "", ballots[number], self._body(room))
                for number, room in rooms.items()
            ]
        )
        owned = {
            number: Owned(number, ballot, max(SPAN, rooms[number]))
            for number, ballot in ballots.items()
        }
        self._load_records(owned)
        self._load_received(owned)
        while len(self._owned) > max(0, MOST_JOBS - len(owned)):
            del self._owned[next(iter(self._owned))]
        self._owned.update(owned)
        self.forget(list(self.lost(numbers)))

    def _ballot(self, used: int) -> int:
        """A number above those used, and not below now in microseconds, that ends in our tag."""
        least = max(used + 1, time.time_ns() // 1000)
        return ((least >> TAG_BITS) + 1 << TAG_BITS) | self._tag

    def _body(self, room: int) -> bytes:
        return msgspec.json.encode(Mark(self._me, max(SPAN, room)))

    # ------------------------------------------------------------ loading

    def _load_records(self, owned: Mapping[int, Owned]) -> None:
        kinds = f"{Kind.STATE:d}, {Kind.METRIC:d}, {Kind.SHAPE:d}"
        where = f"kind IN ({kinds}) AND job IN ({listed(list(owned))})"
        answer = self._shard.agreed(records.select(where), partial(copy_records, self._shard))
        for record in records.decode(answer):
            if record.kind != Kind.STATE and self._is_doubtful(record):
                continue  # it is told anew, where it belongs
            each = owned[record.job]  # the states come first, as their kind is the least
            if record.kind == Kind.STATE:
                each.state = state.decode(record.body)
                each.recorded_heard_at = each.state.job.heard_at
            elif each.state is not None and record.version > each.state.born:
                each.names.known(record)

    def _load_received(self, owned: Mapping[int, Owned]) -> None:
        """Which sequence numbers there are, and the lowest train step of each attempt."""
        live = {number: each.live for number, each in owned.items() if each.live}
        if not live:
            return
        answer = self._shard.agreed(
            "SELECT job, attempt, writer, min(seq), max(seq), uniqExact(seq),"
            f" minIf(step, kind = 0), max(kind = 0) FROM snapshot WHERE {self._there(live)}"
            f" GROUP BY job, attempt, writer, seq >= {AUTO_SEQ}"
            " ORDER BY job, attempt, writer, min(seq) FORMAT TabSeparatedRaw",
            lambda answers: self._copy_rows({job: live[job] for job in unlike(answers)}),
        )
        for line in answer.splitlines():
            job, attempt, writer, low, high, count, step, train = map(int, line.split(b"\t"))
            each = owned[job]
            intervals = each.received.setdefault((attempt, writer), Intervals())
            if count == high - low + 1:
                intervals.add(low, high)
            else:
                intervals.add_sorted(self._seqs(job, live[job], attempt, writer, low, high))
            self._mend(each, attempt, step if train else None)

    def _seqs(
        self, job: int, state: JobState, attempt: int, writer: int, low: int, high: int
    ) -> array[int]:
        answer = self._shard.agreed(
            f"SELECT DISTINCT seq FROM snapshot WHERE {self._there({job: state})}"
            f" AND attempt = {attempt} AND writer = {writer} AND seq BETWEEN {low} AND {high}"
            " ORDER BY seq FORMAT RowBinary",
            lambda _: self._copy_rows({job: state}),
        )
        return array("q", answer)

    def _copy_rows(self, live: Mapping[int, JobState]) -> None:
        copy_rows(self._shard, self._there(live))

    def _mend(self, each: Owned, attempt: int, lowest: int | None) -> None:
        """Let the state know of snapshots that a process wrote which died before it told."""
        assert each.state is not None
        began = attempt not in each.state.attempts
        if each.state.logged(attempt, lowest, each.arrive):
            if began:
                each.state.move(lifecycle.logged(each.state.job, self._clock()), each.arrive)
            each.record_state()

    def _is_doubtful(self, record: Record) -> bool:
        ranges = self._doubtful.get(record.job, ())
        return any(low <= record.version <= high for low, high in ranges)

    def _there(self, live: Mapping[int, JobState]) -> str:
        """Rows of jobs that count: not of those that bore their ids before, nor doubtful ones."""
        where = f"job IN ({listed(live)})"
        before = {number: each.born for number, each in live.items() if each.born}
        if before:
            where += (
                f" AND arrival > transform(job, [{listed(list(before))}],"
                f" [{listed(list(before.values()))}], toUInt64(0))"
            )
        for number, each in live.items():
            for low, high in (*each.void, *self._doubtful.get(number, ())):
                where += f" AND NOT (job = {number} AND arrival BETWEEN {low} AND {high})"
        return where
