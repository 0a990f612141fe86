"""Everything of one backend into another, while the one is in use.

Pass after pass takes along what has come since the last: of each job, what arrived after what the
target has of it. So where a move stands is in the target alone, and one that was killed goes on.
What was taken is read back, and counted and summed up on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from tunelog.errors import NotFound
from tunelog.model import SnapshotQuery
from tunelog.portable import JobState, KeptSnapshot
from tunelog.store import Backend, MovableStore

Place = tuple[str, str]
"""A job: its project's name, and its id."""

Watch = Callable[[int, int], None]
"""Is told how many snapshots were taken, and of how many."""


class Tally:
    """Snapshots counted and summed up, in the order in which they arrived."""

    def __init__(self) -> None:
        self.snapshots = 0
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, snapshots: Sequence[KeptSnapshot]) -> None:
        """Go on with these."""
        self.snapshots += len(snapshots)
        for s in snapshots:
            identity = s.arrival, s.attempt, s.writer, s.seq
            self._hash.update(b"%d %d %d %d %b\n%b\n" % (*identity, s.line, s.exact or b""))

    def copy(self) -> Tally:
        """One to go on with, while this stays as it is."""
        copy = Tally()
        copy.snapshots, copy._hash = self.snapshots, self._hash.copy()
        return copy

    @property
    def checksum(self) -> str:
        """Of identities, order of arrival and texts: 16 hexadecimal digits."""
        return self._hash.hexdigest()


class Checked(NamedTuple):
    """What became of a job, on both sides.

    Attributes:
        source, target: what was counted and summed up.
        same_state: all else is the same, too.
    """

    source: Tally
    target: Tally
    same_state: bool

    @property
    def difference(self) -> str | None:
        """What differs, in words; None if nothing does."""
        source, target = self.source, self.target
        if source.snapshots != target.snapshots:
            return f"{source.snapshots} snapshots in FROM, {target.snapshots} in TO"
        if source.checksum != target.checksum:
            return f"checksum {source.checksum} in FROM, {target.checksum} in TO"
        return None if self.same_state else "its status, attempts, events or checkpoints"


class Move:
    """A move from one backend into another.

    Attributes:
        checked: what was taken by this move so far, job by job.
        caught_up: the last pass found nothing, or so much that there is no end to it.
    """

    def __init__(self, source: Backend, target: Backend) -> None:
        self._source, self._target = source, target
        self._taken: int | None = None
        self.checked: dict[Place, Checked] = {}
        self.caught_up = False

    def run_pass(self, watch: Watch = lambda taken, total: None) -> int:
        """Take along all that the target lacks; answer how many snapshots that were.

        Raises:
            Conflict: the target is in use, and nothing of it was changed.
        """
        self._target.adopt_owners(self._source.owners())
        waiting: list[tuple[Place, MovableStore, MovableStore, int]] = []
        for name, source, target in _stores(self._source, self._target):
            ids = [job.id for job in reversed(source.jobs())]  # so that ties keep their order
            for other in {job.id for job in target.jobs()}.difference(ids):
                target.delete_job(other)
                self.checked.pop((name, other), None)
            for job_id in ids:
                lacking = _lacking(source, target, job_id)
                if lacking is not None:
                    waiting.append(((name, job_id), source, target, lacking))
        taken, total = 0, sum(lacking for *_, lacking in waiting)

        def more(snapshots: int) -> None:
            nonlocal taken
            taken += snapshots
            watch(taken, max(taken, total))

        more(0)
        for place, source, target, _ in waiting:
            with suppress(NotFound):  # it was deleted meanwhile; the next pass deletes it here, too
                self._take(place, source, target, more)
        self.caught_up = not taken or (self._taken is not None and 2 * taken > self._taken)
        self._taken = taken
        return taken

    def _take(
        self, place: Place, source: MovableStore, target: MovableStore, more: Callable[[int], None]
    ) -> None:
        """Take along what the target lacks of a job, and read it back."""
        _, job_id = place
        state, known = source.state(job_id), _state(target, job_id)
        if known is not None and not _continues(known, state):
            target.delete_job(job_id)
            known = None
        if known is None:
            known = state.begun()
            target.adopt(known)
            self.checked.pop(place, None)
        before = self.checked.get(place) or Checked(Tally(), Tally(), True)
        sent, found = before.source.copy(), before.target.copy()
        for part in _parts(source, job_id, known.arrival, state.arrival):
            target.adopt_snapshots(job_id, part)
            sent.add(part)
            more(len(part))
        target.adopt(state)
        for part in _parts(target, job_id, known.arrival, state.arrival):
            found.add(part)
        self.checked[place] = Checked(sent, found, target.state(job_id) == state)


def verify(
    source: Backend, target: Backend, watch: Watch = lambda taken, total: None
) -> Mapping[Place, Checked]:
    """Compare all of every job of two backends, changing nothing."""
    jobs: dict[Place, tuple[MovableStore, MovableStore]] = {}
    for name, *stores in _stores(source, target):
        for job_id in [job.id for store in stores for job in store.jobs()]:
            jobs[name, job_id] = stores[0], stores[1]
    checked: dict[Place, Checked] = {}
    for place, (one, other) in jobs.items():
        watch(len(checked), len(jobs))
        states = _state(one, place[1]), _state(other, place[1])
        tallies = _tally(one, place[1], states[0]), _tally(other, place[1], states[1])
        checked[place] = Checked(*tallies, states[0] == states[1])
    watch(len(checked), len(jobs))
    return checked


def same_owners(source: Backend, target: Backend) -> bool:
    """Whether the projects, keys and share links of two backends are the same."""
    one, other = source.owners(), target.owners()
    return (one.signing_key, one.projects) == (other.signing_key, other.projects) and all(
        sorted(some, key=lambda kept: kept.hash) == sorted(others, key=lambda kept: kept.hash)
        for some, others in ((one.keys, other.keys), (one.shares, other.shares))
    )


# ---------------------------------------------------------------- jobs


def _stores(source: Backend, target: Backend) -> Iterator[tuple[str, MovableStore, MovableStore]]:
    """Each project's name and its jobs on both sides."""
    for project in source.projects():
        yield project.name, source.store(project), target.store(project)


def _state(store: MovableStore, job_id: str) -> JobState | None:
    """A job's state; None if there is no such job."""
    try:
        return store.state(job_id)
    except NotFound:
        return None


def _continues(known: JobState, state: JobState) -> bool:
    """Whether `state` is one that a job came to after it was as it is known.

    Not so if it was deleted and made again, or the source is from before, out of a backup.
    """
    return known.job.created_at == state.job.created_at and known.arrival <= state.arrival


def _lacking(source: MovableStore, target: MovableStore, job_id: str) -> int | None:
    """About how many of a job's snapshots the target lacks; None if it lacks nothing of it."""
    state, known = _state(source, job_id), _state(target, job_id)
    if state is None or known == state:
        return None
    after = known.arrival if known is not None and _continues(known, state) else 0
    with suppress(NotFound):
        query = SnapshotQuery(attempt="all", resolution=0, after=str(after))
        return source.read(job_id, query).matched
    return None


def _parts(
    store: MovableStore, job_id: str, after: int, until: int
) -> Iterator[Sequence[KeptSnapshot]]:
    """A job's snapshots that arrived after the one and until the other, part by part."""
    while found := store.stored(job_id, after):
        part = [kept for kept in found if kept.arrival <= until]
        if part:
            yield part
        if len(part) < len(found):
            return
        after = part[-1].arrival


def _tally(store: MovableStore, job_id: str, state: JobState | None) -> Tally:
    tally = Tally()
    if state is not None:
        for part in _parts(store, job_id, 0, state.arrival):
            tally.add(part)
    return tally
