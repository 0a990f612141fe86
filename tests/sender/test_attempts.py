"""Which job and attempt a training becomes, when it is not the first of its job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import tunelog
from tests.recording import environment, only_spool, train
from tests.sender.sending import Troubled, begin, drain, record, rows, warnings
from tunelog.backends.memory import MemoryStore
from tunelog.errors import Forbidden
from tunelog.model import JobChanges, JobDetails
from tunelog.recorder import handover
from tunelog.sender import sync

DETAILS = JobDetails(model="Qwen/Qwen3-0.6B")


def test_a_restart_is_the_next_attempt_of_the_same_job(spool: Path, store: MemoryStore) -> None:
    first = record(spool, range(10), status=None, output_dir=spool.parent)
    second = record(spool, range(6, 9), output_dir=spool.parent, from_step=6)
    assert first.id == second.id
    sync(spool, lambda: store)
    assert [(a.attempt, a.from_step) for a in store.attempts(first.id)] == [(1, None), (2, 6)]
    steps = [row["train/global_step"] for row in rows(store, first.id) if "train/loss" in row]
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert store.job(first.id).status == "completed"


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_a_job_that_had_ended_badly_runs_again(
    spool: Path, store: MemoryStore, status: Any
) -> None:
    record(spool, job_id="ft-1", status=status)
    sync(spool, lambda: store)
    assert store.job("ft-1").status == status
    job = begin(spool, job_id="ft-1")
    drain(only_spool(spool), store)
    assert store.job("ft-1").status == "running"
    assert not job.should_stop
    job.finish()


def test_a_job_that_was_cancelled_before_it_began_stops_its_trainer(
    spool: Path, store: MemoryStore
) -> None:
    store.create_job(DETAILS, "ft-1")
    store.cancel_job("ft-1")
    job = begin(spool, job_id="ft-1")
    job.log({"loss": 1.0}, 1)
    drain(only_spool(spool), store)
    assert store.job("ft-1").status == "cancelled"
    assert job.should_stop
    job.finish()


def completed(store: MemoryStore, job_id: str) -> None:
    store.create_job(DETAILS, job_id)
    store.update_job(job_id, JobChanges(status="completed"))


def test_a_job_that_has_completed_is_followed_by_a_new_one(
    spool: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    completed(store, "ft-1")
    job = begin(spool, job_id="ft-1", output_dir=spool.parent)
    job.log({"loss": 1.0}, 1)
    drain(only_spool(spool), store)
    assert job.id != "ft-1"
    assert store.job("ft-1").status == "completed"
    assert len(rows(store, job.id)) == 1
    told = [event.message for event in store.events(job.id)]
    assert "Job ft-1 is completed; this training is a job of its own." in told
    job.finish()
    drain(only_spool(spool), store)
    assert store.job(job.id).status == "completed"
    assert json.loads((spool.parent / "tunelog.json").read_text()) == {
        "job_id": job.id,
        "status": "completed",
    }
    assert "ft-1 had ended" in capsys.readouterr().err


def test_a_job_that_must_be_resumed_is_entered_though_it_has_completed(
    spool: Path, store: MemoryStore
) -> None:
    record(spool, job_id="ft-1")
    sync(spool, lambda: store)
    record(spool, job_id="ft-1", resume="must", status="error")
    sync(spool, lambda: store)
    assert store.job("ft-1").status == "error"
    assert len(store.attempts("ft-1")) == 2


def test_a_job_can_be_resumed_by_its_name(
    spool: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    record(spool, job_id="ft-1", name="nightly", status="error")
    sync(spool, lambda: store)
    job = begin(spool, name="nightly", resume="must", from_step=3)
    job.log({"loss": 9.0}, 3)
    drain(only_spool(spool), store)
    assert (job.id, job.attempt) == ("ft-1", 2)
    assert store.job("ft-1").status == "running"
    assert "this training is job ft-1, the newest of its name" in capsys.readouterr().err
    job.finish()


def test_a_name_that_no_job_has_yet_begins_one(spool: Path, store: MemoryStore) -> None:
    job = begin(spool, name="nightly", resume="must")
    drain(only_spool(spool), store)
    assert [j.id for j in store.jobs(name="nightly")] == [job.id]
    job.finish()


def test_without_must_a_name_is_a_label_that_several_jobs_may_bear(
    spool: Path, store: MemoryStore
) -> None:
    first = record(spool, name="nightly", status="error")
    second = record(spool, name="nightly")
    sync(spool, lambda: store)
    assert {job.id for job in store.jobs(name="nightly")} == {first.id, second.id}


@pytest.mark.parametrize(("trained", "same"), [(False, True), (True, False)])
def test_a_job_that_must_be_new_is_one_that_nobody_has_trained(
    spool: Path, store: MemoryStore, trained: bool, same: bool
) -> None:
    store.create_job(DETAILS, "ft-1")
    if trained:
        store.update_job("ft-1", JobChanges(status="running"))
    job = begin(spool, job_id="ft-1", resume="never")
    drain(only_spool(spool), store)
    assert (job.id == "ft-1") == same
    job.finish()


def test_an_old_attempt_does_not_end_the_job_that_a_newer_one_trains(
    spool: Path, store: MemoryStore
) -> None:
    old = begin(spool, job_id="ft-1")
    old.log({"loss": 1.0}, 1)
    path = only_spool(spool)
    drain(path, store)
    new = begin(spool.parent / "elsewhere", job_id="ft-1")
    new.log({"loss": 1.0}, 1)
    drain(only_spool(spool.parent / "elsewhere"), store)
    old.finish("error")
    drain(path, store)
    assert store.job("ft-1").status == "running"
    new.finish()
    drain(only_spool(spool.parent / "elsewhere"), store)
    assert store.job("ft-1").status == "completed"


def test_a_key_that_may_only_write_is_enough(spool: Path, store: MemoryStore) -> None:
    def refuse(name: str, args: Any) -> None:
        if name in ("job", "jobs", "events", "attempts", "checkpoints", "read"):
            raise Forbidden("this key lacks the scope read")

    troubled = Troubled(store)
    troubled.before = refuse
    record(spool, job_id="ft-1", status="error")
    drain(only_spool(spool), troubled.as_store)
    record(spool, job_id="ft-1")
    drain(only_spool(spool), troubled.as_store)
    assert store.job("ft-1").status == "completed"
    assert len(store.attempts("ft-1")) == 2


def test_a_killed_training_leaves_its_job_open_and_says_so(spool: Path, store: MemoryStore) -> None:
    script = """
import os, tunelog
job = tunelog.init("m", job_id="ft-1")
job.log({"loss": 1.0}, step=1)
os.kill(os.getpid(), 9)
"""
    train(script, environment(spool))
    with open(only_spool(spool), "ab") as file:
        file.write(b'00000063 12345678 {"record":"snap')  # what it was writing when it was killed
    report = sync(spool, lambda: store)
    assert (len(report.sent), report.damaged) == (1, 0)
    assert os.listdir(spool) == []
    assert store.job("ft-1").status == "running"
    assert len(rows(store, "ft-1")) == 1
    (told,) = warnings(store, "ft-1")
    assert "went without finish()" in told


def run_and_command(spool: Path) -> tuple[tunelog.Recorder, tunelog.Recorder, tunelog.Recorder]:
    """The recorder of a `tunelog run`, and two of its command."""
    watching = begin(spool, job_id="ft-1")
    variables = handover.offer(watching, ())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return watching, begin(spool, from_step=6), begin(spool)


def test_run_and_its_command_are_one_attempt_and_run_tells_the_end(
    spool: Path, store: MemoryStore
) -> None:
    record(spool, range(10), status=None, job_id="ft-1")
    sync(spool, lambda: store)
    watching, first, second = run_and_command(spool)
    first.log({"loss": 1.0}, 6)
    second.log({"loss": 1.0}, 7)
    first.finish()
    second.finish("cancelled")
    sync(spool, lambda: store)
    assert [(a.attempt, a.from_step, a.first_step) for a in store.attempts("ft-1")] == [
        (1, None, 0),
        (2, 6, 6),
        (3, None, 7),
    ]
    assert store.job("ft-1").status == "running"
    watching.finish("error")
    sync(spool, lambda: store)
    assert os.listdir(spool) == []
    assert store.job("ft-1").status == "error"


def test_what_the_command_of_run_said_late_changes_nothing(spool: Path, store: MemoryStore) -> None:
    watching, first, second = run_and_command(spool)
    first.log({"loss": 1.0}, 6)
    first.update(status="uploading", epochs_completed=3)
    first.finish()
    second.finish()
    watching.finish()
    sync(spool, lambda: store)  # the spool of `run` first
    assert os.listdir(spool) == []
    (job,) = store.jobs()
    assert (job.status, job.details.epochs_completed) == ("completed", 3)
    assert [row["train/global_step"] for row in rows(store, "ft-1")] == [6]
