"""What is taken from one backend to another is the same there, whenever and however it is taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.store.alike import answers, every_answer
from tests.store.conftest import KINDS, Clock, opened
from tests.store.moves import go_on, in_parts, moved, project_of, recorded
from tests.store.samples import batch, train
from tunelog.access import Project
from tunelog.backends.memory import MemoryBackend
from tunelog.errors import Conflict, Unauthenticated
from tunelog.model import (
    AUTO_SEQ,
    Event,
    JobChanges,
    JobDetails,
    SnapshotQuery,
)
from tunelog.moving import Move, Tally, same_owners, verify
from tunelog.portable import KeptSnapshot
from tunelog.store import Backend, MovableStore

EVERY = SnapshotQuery(attempt="all")


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Backend]:
    """What is moved; a cluster has tests of its own (tests/clickhouse/test_moving.py)."""
    made = opened(request.param, tmp_path, clock)
    yield made
    made.close()


# ---------------------------------------------------------------- the contract


def test_a_job_answers_as_it_did(backend: Backend, target: Backend) -> None:
    recorded(backend)
    moved(backend, target)
    assert every_answer(target) == every_answer(backend)


def test_a_job_goes_on_as_it_would_have(backend: Backend, target: Backend, clock: Clock) -> None:
    store = recorded(backend)
    moved(backend, target)
    other = target.store(project_of(target))
    go_on(clock, store, other)
    assert answers(other, "ft-a") == answers(store, "ft-a")
    assert [s.seq - AUTO_SEQ for s in other.stored("ft-a") if s.seq >= AUTO_SEQ] == [0, 1, 2, 3]


def test_snapshots_are_given_in_order_of_arrival_part_by_part(backend: Backend) -> None:
    store = recorded(backend)
    whole = store.stored("ft-a")
    assert [s.arrival for s in whole] == sorted(s.arrival for s in whole)
    assert [s.global_step for s in whole] == [1, 2, 2, 4, 3, 3, 3, 3]
    parts = in_parts(store, "ft-a", 3)
    assert [kept for part in parts for kept in part] == whole
    assert len(parts) > 1


def test_a_cursor_goes_on_after_a_move(backend: Backend, target: Backend) -> None:
    store = recorded(backend)
    half = store.changes("ft-a", EVERY, limit=5)
    moved(backend, target)
    rest = target.store(project_of(target)).changes("ft-a", SnapshotQuery(after=half.cursor))
    assert rest == store.changes("ft-a", SnapshotQuery(after=half.cursor))


def test_snapshots_that_are_there_already_are_left_out(backend: Backend, target: Backend) -> None:
    source = recorded(backend)
    moved(backend, target)
    store = target.store(project_of(target))
    before = answers(store, "ft-a")
    store.adopt_snapshots("ft-a", source.stored("ft-a"))
    store.adopt_snapshots("ft-a", [])
    assert answers(store, "ft-a") == before


def test_a_job_that_has_begun_to_come_has_come_as_far_as_its_last_snapshot(
    backend: Backend, target: Backend
) -> None:
    source, project = recorded(backend), project_of(backend)
    target.adopt_owners(backend.owners())
    store, state = target.store(project), source.state("ft-a")
    store.adopt(state.begun())
    first = source.stored("ft-a", limit=3)
    store.adopt_snapshots("ft-a", first)
    assert store.state("ft-a").arrival == first[-1].arrival
    assert list(store.stored("ft-a")) == list(first)


def test_secrets_links_and_sessions_go_on_working(backend: Backend, target: Backend) -> None:
    store, project = recorded(backend), project_of(backend)
    key, secret = backend.create_key(project, ["admin"])
    revoked, gone = backend.create_key(project, ["read"])
    backend.revoke_key(revoked.id)
    _, token = store.create_share(["ft-a"], 3600, name="review", key_id=key.id)
    moved(backend, target)
    assert target.authenticate(secret) == backend.authenticate(secret)
    assert target.authenticate(token) == backend.authenticate(token)
    assert target.principal(key.id) == backend.principal(key.id)
    assert target.signing_key() == backend.signing_key()
    with pytest.raises(Unauthenticated):
        target.authenticate(gone)
    target.revoke_key(key.id)
    for dead in (secret, token):
        with pytest.raises(Unauthenticated):
            target.authenticate(dead)


def test_a_key_that_is_revoked_between_two_passes_is_revoked_there(
    backend: Backend, target: Backend
) -> None:
    recorded(backend)
    key, secret = backend.create_key(project_of(backend), ["read"])
    moved(backend, target)
    backend.revoke_key(key.id)
    assert not same_owners(backend, target)
    moved(backend, target)
    assert same_owners(backend, target)
    with pytest.raises(Unauthenticated):
        target.authenticate(secret)


@pytest.mark.parametrize("how", ["its own", "served since", "from another store"])
def test_a_store_in_use_is_not_moved_into_and_stays_as_it_is(
    how: str, backend: Backend, target: Backend
) -> None:
    if how == "its own":
        recorded(target, "ft-own")
    elif how == "served since":
        recorded(backend)
        moved(backend, target)
        target.settle()
    else:
        other = MemoryBackend()
        recorded(other, "ft-other")
        moved(other, target)
    before = every_answer(target)
    recorded(backend, "ft-b")
    with pytest.raises(Conflict, match="in use"):
        Move(backend, target).run_pass()
    assert every_answer(target) == before


def test_to_settle_changes_nothing_else(backend: Backend) -> None:
    recorded(backend)
    before = every_answer(backend)
    backend.settle()
    assert every_answer(backend) == before


# ---------------------------------------------------------------- while it is in use


def test_what_was_deleted_is_deleted_there(backend: Backend, target: Backend) -> None:
    store = recorded(backend)
    recorded(backend, "ft-b")
    moved(backend, target)
    store.delete_job("ft-a")
    moved(backend, target)
    assert every_answer(target) == every_answer(backend)
    assert [job.id for job in target.store(project_of(target)).jobs()] == ["ft-b"]


def test_what_was_deleted_and_made_again_is_taken_anew(backend: Backend, target: Backend) -> None:
    store = recorded(backend)
    moved(backend, target)
    store.delete_job("ft-a")
    store.create_job(JobDetails(model="other"), "ft-a")
    store.append("ft-a", batch(train(1), first_seq=0))
    move = moved(backend, target)
    assert every_answer(target) == every_answer(backend)
    (checked,) = move.checked.values()
    assert (checked.target.snapshots, checked.difference) == (1, None)


class Interleaved:
    """A backend whose stores do something before they give each part of snapshots."""

    def __init__(self, backend: Backend, before_each: Callable[[MovableStore], None]) -> None:
        self._backend, self._before_each = backend, before_each

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def store(self, project: Project) -> Any:
        store = self._backend.store(project)
        before_each = self._before_each

        class Store:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            def stored(self, job_id: str, after: int = 0) -> Sequence[KeptSnapshot]:
                before_each(store)
                return store.stored(job_id, after, limit=2)

        return Store()


def test_writers_go_on_while_it_moves(backend: Backend, target: Backend) -> None:
    recorded(backend)
    numbers = iter(range(20))

    def write(store: MovableStore) -> None:
        for number in itertools.islice(numbers, 1):
            if number % 5 == 4:
                store.open_attempt("ft-a", number)
            store.append("ft-a", batch(train(number), first_seq=100 + number, writer=3))

    move = Move(Interleaved(backend, write), target)
    passes = [move.run_pass() for _ in range(10)]
    assert passes[0] == 8
    assert passes[-1] == 0
    assert sum(passes) == 8 + 20
    assert every_answer(target) == every_answer(backend)
    (checked,) = move.checked.values()
    assert (checked.target.snapshots, checked.difference) == (28, None)


@pytest.mark.parametrize("again", [False, True])
def test_a_job_deleted_while_it_is_taken_harms_nothing(
    again: bool, backend: Backend, target: Backend
) -> None:
    recorded(backend)
    recorded(backend, "ft-b")
    calls = itertools.count()

    def delete(store: MovableStore) -> None:
        if next(calls) == 2:
            store.delete_job("ft-a")
            if again:
                store.create_job(JobDetails(model="other"), "ft-a")

    move = Move(Interleaved(backend, delete), target)
    move.run_pass()
    move.run_pass()
    assert every_answer(target) == every_answer(backend)
    assert not any(checked.difference for checked in move.checked.values())


def test_passes_end_when_they_become_shorter_no_more(tmp_path: Path) -> None:
    source, target = MemoryBackend(), MemoryBackend()
    store = recorded(source)
    move = Move(source, target)
    ends = []
    for taken in (100, 30, 20):
        store.append("ft-a", batch(*map(train, range(taken))))
        move.run_pass()
        ends.append(move.caught_up)
    assert ends == [False, False, True]


# ---------------------------------------------------------------- stopped and wrong


class KilledError(Exception):
    """The process ends here."""


class Mortal:
    """A backend that is killed at its n-th change of a job, before or after it was made."""

    def __init__(self, backend: Backend, changes: int, after: bool) -> None:
        self._backend, self._left, self._after = backend, changes, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def store(self, project: Project) -> Any:
        mortal, store = self, self._backend.store(project)

        class Store:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            def adopt(self, state: Any) -> None:
                mortal.change(lambda: store.adopt(state))

            def adopt_snapshots(self, job_id: str, part: Sequence[KeptSnapshot]) -> None:
                mortal.change(lambda: store.adopt_snapshots(job_id, part))

        return Store()

    def change(self, change: Callable[[], None]) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KilledError
        change()
        if self._left == 0:
            raise KilledError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_point_it_goes_on_where_it_was(
    after: bool, kind: str, clock: Clock, tmp_path: Path
) -> None:
    memory = MemoryBackend(clock)
    recorded(memory)
    recorded(memory, "ft-b")
    source: Any = Interleaved(memory, lambda store: None)
    for changes in range(1, 13):
        folder = tmp_path / str(changes)
        folder.mkdir()
        target = opened(kind, folder, clock)
        mortal: Any = Mortal(target, changes, after)
        with pytest.raises(KilledError):
            Move(source, mortal).run_pass()
        store = target.store(project_of(target))
        there = sum(len(store.stored(job.id)) for job in store.jobs())
        assert Move(source, target).run_pass() == 16 - there
        assert every_answer(target) == every_answer(memory)
        target.close()


class Forgetful(Mortal):
    """A backend that loses the first snapshot of each part."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, 0, False)

    def store(self, project: Project) -> Any:
        store = self._backend.store(project)

        class Store:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            def adopt_snapshots(self, job_id: str, part: Sequence[KeptSnapshot]) -> None:
                store.adopt_snapshots(job_id, part[1:])

        return Store()


def test_what_got_lost_on_the_way_is_said(clock: Clock) -> None:
    source, target = MemoryBackend(clock), MemoryBackend(clock)
    recorded(source)
    forgetful: Any = Forgetful(target)
    (checked,) = moved(source, forgetful).checked.values()
    assert checked.difference == "8 snapshots in FROM, 7 in TO"
    assert verify(source, target)["default", "ft-a"].difference == checked.difference


def other_value(kept: KeptSnapshot) -> KeptSnapshot:
    return msgspec.structs.replace(kept, line=kept.line.replace(b"0.5", b"0.6"))


def other_identity(kept: KeptSnapshot) -> KeptSnapshot:
    return msgspec.structs.replace(kept, seq=kept.seq + 1000)


def other_order(kept: KeptSnapshot) -> KeptSnapshot:
    return msgspec.structs.replace(kept, arrival=kept.arrival + 10_000)


@pytest.mark.parametrize("change", [other_value, other_identity, other_order])
def test_a_checksum_is_of_texts_identities_and_order(
    change: Callable[[KeptSnapshot], KeptSnapshot], clock: Clock
) -> None:
    store = recorded(MemoryBackend(clock))
    whole = store.stored("ft-a")
    one, same, other = Tally(), Tally(), Tally()
    one.add(whole)
    for kept in whole:
        same.add([kept])
    other.add([change(kept) for kept in whole])
    assert (one.checksum, one.snapshots) == (same.checksum, same.snapshots)
    assert one.checksum != other.checksum


def test_to_verify_compares_all_of_both_and_changes_nothing(
    backend: Backend, target: Backend
) -> None:
    store = recorded(backend)
    recorded(backend, "ft-b")
    recorded(backend, "ft-c")
    moved(backend, target)
    assert {c.difference for c in verify(backend, target).values()} == {None}
    assert same_owners(backend, target)
    store.append("ft-a", batch(train(50)))
    store.add_event("ft-b", Event(type="note", message="more", created_at=1))
    store.create_job(JobDetails(model="m"), "ft-new")
    target.store(project_of(target)).update_job("ft-c", JobChanges(status="error"))
    before = every_answer(backend), every_answer(target)
    found = {job: each.difference for (_, job), each in verify(backend, target).items()}
    assert found == {
        "ft-a": "9 snapshots in FROM, 8 in TO",
        "ft-b": "its status, attempts, events or checkpoints",
        "ft-c": "its status, attempts, events or checkpoints",
        "ft-new": "its status, attempts, events or checkpoints",
    }
    assert (every_answer(backend), every_answer(target)) == before
