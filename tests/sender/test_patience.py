"""How long the sender tries, and for whom it waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.recording import only_spool
from tests.sender.sending import Troubled, always, begin, record, rows
from tunelog.backends.memory import MemoryStore
from tunelog.errors import Forbidden, StoreUnavailable, TunelogError, Unauthenticated
from tunelog.model import JobChanges, SnapshotQuery
from tunelog.recorder.spool import STATE
from tunelog.recorder.state import StateFile, claim
from tunelog.sender import Drain, Sender, sync
from tunelog.sender.process import BLOCKED_PAUSE, POLL, pause_after
from tunelog.store import Store


class Clock:
    """A clock that moves when someone sleeps, and may do something then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.then: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.then()

    def monotonic(self) -> float:
        return self.now


def sender(path: Path, store: Store, clock: Clock) -> Sender:
    return Sender(str(path), store, give_up_after=600, sleep=clock.sleep, monotonic=clock.monotonic)


def test_a_service_that_is_away_is_tried_until_it_is_back(spool: Path, store: MemoryStore) -> None:
    job = record(spool)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(StoreUnavailable("away"))

    def come_back() -> None:
        if clock.now > 300:
            troubled.before = lambda name, args: None

    clock.then = come_back
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert os.listdir(spool) == []
    assert store.job(job.id).status == "completed"
    assert max(clock.slept) <= 5.0


def test_pauses_grow_to_five_seconds_and_are_spread() -> None:
    for chance in (0.0, 1.0):
        pauses = [pause_after(failures, None, chance) for failures in range(1, 40)]
        assert pauses == sorted(pauses)
        assert pauses[0] <= 0.2
        assert pauses[-1] == (5.0 if chance else 2.5)


def test_a_service_that_says_when_to_come_again_is_heeded() -> None:
    assert pause_after(1, 12.0, 0.5) == 12.0
    assert pause_after(1, 86_400.0, 0.5) == 300.0


def test_the_sender_waits_as_long_as_the_service_says(spool: Path, store: MemoryStore) -> None:
    record(spool)
    clock, troubled = Clock(), Troubled(store)
    busy = StoreUnavailable("busy")
    busy.retry_after = 12.0
    troubled.before = always(busy)

    def recover() -> None:
        troubled.before = lambda name, args: None

    clock.then = recover
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert clock.slept[0] == 12.0


def test_a_sender_whose_trainer_is_gone_gives_up_after_ten_minutes(
    spool: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    record(spool)
    path = only_spool(spool)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(StoreUnavailable("away"))
    assert not sender(path, troubled.as_store, clock).run()
    assert 600 <= clock.now <= 610
    assert path.exists()
    assert capsys.readouterr().err.count("StoreUnavailable: away") == 1
    assert sync(spool, lambda: store).snapshots == 6


def test_a_sender_whose_trainer_lives_never_gives_up(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(StoreUnavailable("away"))
    ended: list[float] = []

    def end_after_two_hours() -> None:
        if clock.now > 7200 and not ended:
            ended.append(clock.now)
            job.finish()

    clock.then = end_after_two_hours
    assert not sender(only_spool(spool), troubled.as_store, clock).run()
    assert 600 <= clock.now - ended[0] <= 610


@pytest.mark.parametrize("error", [Unauthenticated("no such key"), Forbidden("no scope")])
def test_a_key_that_does_not_open_is_tried_slowly_and_told_to_the_recorder(
    spool: Path, store: MemoryStore, error: TunelogError, capsys: pytest.CaptureFixture[str]
) -> None:
    record(spool)
    path = only_spool(spool)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(error)
    assert not sender(path, troubled.as_store, clock).run()
    assert set(clock.slept) == {BLOCKED_PAUSE}
    assert capsys.readouterr().err.count(error.message) == 1
    state = StateFile(f"{path}{STATE}")
    assert (state.read().blocked, state.read().error) == (True, error.message)
    state.close()


def test_an_answer_that_nobody_expected_is_retried_too(
    spool: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    record(spool, job_id="ft-1")
    clock, troubled = Clock(), Troubled(store)

    def answer_nonsense(name: str, args: Any) -> None:
        if clock.now < 100:
            raise msgspec.DecodeError("a login page")

    troubled.before = answer_nonsense
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert store.job("ft-1").status == "completed"
    assert "a login page" in capsys.readouterr().err


def test_a_quiet_training_is_asked_after_every_fifteen_seconds(
    spool: Path, store: MemoryStore
) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    clock, troubled = Clock(), Troubled(store)

    def end_after_a_minute() -> None:
        if clock.now > 61:
            job.finish()

    clock.then = end_after_a_minute
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert troubled.calls.count("append") == 1 + 4
    assert set(clock.slept) == {POLL}


def test_a_training_that_sends_no_snapshots_hears_of_a_cancel_too(
    spool: Path, store: MemoryStore
) -> None:
    job = begin(spool)
    clock = Clock()

    def tell_something() -> None:
        job.event("still here")
        if store.jobs() and clock.now > 5:
            store.update_job(job.id, JobChanges(status="running"))
            store.cancel_job(job.id)
        if job.should_stop or clock.now > 61:
            job.finish()

    clock.then = tell_something
    assert sender(only_spool(spool), store, clock).run()
    assert store.job(job.id).status == "cancelled"
    assert clock.now < 20


def test_what_an_earlier_process_left_of_the_job_is_sent_first(
    spool: Path, store: MemoryStore
) -> None:
    record(spool, range(10), status=None, job_id="ft-1")
    record(spool, range(8), status=None, job_id="ft-1")
    record(spool, job_id="ft-2")
    assert sender(max(spool.glob("ft-1.*.spool")), store, Clock()).run()
    assert [(a.attempt, a.first_step) for a in store.attempts("ft-1")] == [(1, 0), (2, 0)]
    assert len(rows(store, "ft-1", SnapshotQuery(attempt=1))) == 11
    assert {path.name[:5] for path in spool.iterdir()} == {"ft-2."}


def test_an_earlier_spool_that_another_sends_is_waited_for(spool: Path, store: MemoryStore) -> None:
    record(spool, range(3), status=None, job_id="ft-1")
    earlier = only_spool(spool)
    record(spool, range(2), job_id="ft-1")
    clock = Clock()
    other = claim(str(earlier))
    assert other is not None

    def finish_other() -> None:
        if clock.now > 5 and earlier.exists():
            sending = Drain(str(earlier), store, other)
            while sending.send():
                pass
            sending.end()
            sending.close()
            other.close()

    clock.then = finish_other
    assert sender(max(spool.glob("*.spool")), store, clock).run()
    assert [(a.attempt, a.first_step) for a in store.attempts("ft-1")] == [(1, 0), (2, 0)]
    assert len(rows(store, "ft-1", SnapshotQuery(attempt=1))) == 4


def test_a_spool_that_another_sends_is_left_to_it(spool: Path, store: MemoryStore) -> None:
    record(spool, job_id="ft-1")
    other = claim(str(only_spool(spool)))
    assert other is not None
    assert sender(only_spool(spool), store, Clock()).run()
    assert store.jobs() == []
    other.close()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Unauthenticated("no such key")])
def test_between_two_tries_a_sync_may_take_the_spool(
    spool: Path, store: MemoryStore, error: TunelogError
) -> None:
    job = record(spool)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(error)
    reports = []
    clock.then = lambda: reports.append(sync(spool, lambda: store))
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert [len(report.sent) for report in reports] == [1]
    assert os.listdir(spool) == []
    assert store.job(job.id).status == "completed"


def test_a_sender_goes_on_where_a_sync_has_stopped(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    clock, troubled = Clock(), Troubled(store)
    troubled.before = always(Unauthenticated("no such key"))

    def sync_once() -> None:
        clock.then = lambda: None
        assert sync(spool, lambda: store).open
        troubled.before = lambda name, args: None
        troubled.calls.clear()
        job.log({"loss": 0.5}, 2)
        job.finish()

    clock.then = sync_once
    assert sender(only_spool(spool), troubled.as_store, clock).run()
    assert [row["train/global_step"] for row in rows(store, job.id)] == [1, 2]
    assert "create_job" not in troubled.calls
