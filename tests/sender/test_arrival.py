"""What was recorded arrives once; what the service says comes back to the trainer."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.recording import only_spool
from tests.sender.sending import (
    Troubled,
    begin,
    drain,
    draining,
    everything,
    new_store,
    record,
    rows,
)
from tunelog.backends.memory import MemoryStore
from tunelog.errors import LimitExceeded, StoreUnavailable
from tunelog.recorder.records import framed_record
from tunelog.recorder.spool import STATE, SpoolWriter, spool_path
from tunelog.sender import sync


def test_all_that_was_recorded_arrives_and_the_spool_is_removed(
    spool: Path, store: MemoryStore
) -> None:
    job = record(spool, name="first", n_epochs=2)
    drain(only_spool(spool), store)
    assert os.listdir(spool) == []
    status, details, found, events, checkpoints, attempts = everything(store, job.id)
    assert status == "completed"
    assert (details.model, details.name, details.n_epochs, details.epochs_completed) == (
        "Qwen/Qwen3-0.6B",
        "first",
        2,
        1,
    )
    assert [row["train/global_step"] for row in found] == [0, 1, 2, 3, 4, 4]
    assert found[1]["train/loss"] == 0.5
    assert found[1]["train/odd"] == "NaN"
    assert found[5]["eval/loss"] == 0.5
    assert [event[1] for event in events] == ["note", "checkpoint_save", "training_start"]
    assert [(step, path) for _, step, path in checkpoints] == [(4, "out/checkpoint-4")]
    assert attempts == [(1, 0)]


def test_a_spool_can_be_sent_while_it_is_written(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    path = only_spool(spool)
    job.log({"loss": 1.0}, 1)
    drain(path, store)
    assert store.job(job.id).status == "running"
    assert job.attempt == 1
    job.log({"loss": 0.5}, 2)
    drain(path, store)
    assert [row["train/global_step"] for row in rows(store, job.id)] == [1, 2]
    job.finish()
    drain(path, store)
    assert store.job(job.id).status == "completed"
    assert not path.exists()


def recorded_sizes(troubled: Troubled, most: int | None = None) -> list[int]:
    """The sizes of the batches that a store takes, once it is used; it may take none larger."""
    sizes: list[int] = []

    def measure(name: str, args: Any) -> None:
        if name == "append":
            size = len(args[1].snapshots)
            if most is not None and size > most:
                raise LimitExceeded(f"{size} rows")
            sizes.append(size)

    troubled.before = measure
    return sizes


def test_batches_grow_under_a_backlog(spool: Path, store: MemoryStore) -> None:
    troubled = Troubled(store)
    sizes = recorded_sizes(troubled)
    job = record(spool, range(25_000))
    drain(only_spool(spool), troubled.as_store)
    assert sizes == [1000, 2000, 4000, 8000, 8000, 2001]
    assert len(rows(store, job.id)) == 25_001


def test_batches_shrink_to_what_the_service_takes(spool: Path, store: MemoryStore) -> None:
    troubled = Troubled(store)
    sizes = recorded_sizes(troubled, most=600)
    job = record(spool, range(5_000))
    drain(only_spool(spool), troubled.as_store)
    stored = [size for size in sizes if size]  # an empty batch asks whether content is to blame
    assert stored == [500] * 10 + [1]
    assert len(sizes) - len(stored) == 4  # what was read before it was known is halved
    assert len(rows(store, job.id)) == 5_001
    assert os.listdir(spool) == []


def test_a_hole_in_the_sequence_is_kept(spool: Path, store: MemoryStore) -> None:
    spool.mkdir()
    writer = SpoolWriter(spool_path(str(spool), "ft-1", "f" * 32))
    for seq in (0, 1, 5, 6, 3):
        values = {"train/loss": float(seq)}
        content = {"seq": seq, "step": seq, "logged_at": seq, "values": values}
        writer.write(framed_record("snapshot", content))
    writer.close()
    sync(spool, lambda: store)
    assert [row["train/global_step"] for row in rows(store, "ft-1")] == [0, 1, 3, 5, 6]


@pytest.mark.parametrize("answer_lost", [False, True])
def test_whichever_call_fails_everything_arrives_once(spool: Path, answer_lost: bool) -> None:
    job = record(spool)
    path = only_spool(spool)
    original = spool.parent / path.name
    shutil.copy(path, original)
    good = Troubled(new_store())
    drain(path, good.as_store)
    for failing in range(len(good.calls)):
        shutil.copy(original, path)
        troubled = Troubled(new_store())

        def fail(name: str, args: Any, troubled: Troubled = troubled, at: int = failing) -> None:
            if len(troubled.calls) == at + 1:
                raise StoreUnavailable("away")

        if answer_lost:
            troubled.after = fail
        else:
            troubled.before = fail
        with pytest.raises(StoreUnavailable):
            drain(path, troubled.as_store)
        drain(path, troubled.as_store)
        assert everything(troubled.store, job.id) == everything(good.store, job.id)
        assert not path.exists()


@pytest.mark.parametrize("state_is_lost", [False, True])
@pytest.mark.parametrize("parts", range(6))
def test_a_sender_that_dies_anywhere_is_followed_by_one_that_goes_on(
    spool: Path, store: MemoryStore, parts: int, state_is_lost: bool
) -> None:
    job = record(spool, range(3000))
    path = only_spool(spool)
    with draining(path, store) as sending:
        for _ in range(parts):
            sending.send()
    if state_is_lost:
        os.unlink(f"{path}{STATE}")
    drain(path, store)
    assert not path.exists()
    assert len(rows(store, job.id)) == 3001
    assert store.job(job.id).status == "completed"
    assert [attempt.attempt for attempt in store.attempts(job.id)] == [1]


def test_a_copy_of_a_spool_changes_nothing(spool: Path, store: MemoryStore) -> None:
    job = record(spool)
    copies = spool.parent / "copies"
    shutil.copytree(spool, copies, ignore=shutil.ignore_patterns("*.state"))
    sync(spool, lambda: store)
    before = everything(store, job.id)
    report = sync(copies, lambda: store)
    assert len(report.sent) == 1
    assert everything(store, job.id) == before
    assert [found.id for found in store.jobs()] == [job.id]


def test_a_cancel_reaches_the_trainer_with_the_next_batch(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    drain(only_spool(spool), store)
    store.cancel_job(job.id)
    heard = [job.should_stop]
    job.log({"loss": 1.0}, 2)
    drain(only_spool(spool), store)
    heard.append(job.should_stop)
    assert heard == [False, True]
    job.finish()
    drain(only_spool(spool), store)
    assert store.job(job.id).status == "cancelled"


def test_a_beat_hears_of_a_cancel_without_anything_to_send(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    drain(only_spool(spool), store)
    heard_at = store.job(job.id).heard_at
    store.cancel_job(job.id)
    with draining(only_spool(spool), store) as sending:
        sending.beat()
    assert store.job(job.id).heard_at > heard_at
    assert job.should_stop
    job.finish()


def test_progress_that_comes_late_has_grown_old(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    job.update(seconds_remaining=100, epochs_completed=1, hyperparameters={"a": 1})
    job.update(epochs_completed=2, hyperparameters={"b": 2})
    troubled = Troubled(store)
    later = time.time_ns() + 40 * 10**9
    with draining(only_spool(spool), troubled.as_store, lambda: later) as sending:
        while sending.send():
            pass
    found = store.job(job.id)
    assert found.ends_at is not None
    assert 50 <= (found.ends_at - time.time_ns()) / 1e9 <= 61
    assert found.details.epochs_completed == 2
    assert found.details.hyperparameters == {"a": 1, "b": 2}
    assert troubled.calls.count("update_job") == 1
    job.finish()
