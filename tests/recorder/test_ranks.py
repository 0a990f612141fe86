"""Several processes that write into one attempt: `writers="all"`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.recorded import Init
from tests.recording import environment, only_spool, records
from tests.sender.sending import drain, new_store, rows
from tunelog.model import JobChanges, JobDetails
from tunelog.recorder.ranks import rank
from tunelog.sender import sync

LAUNCHER = """
import os, subprocess, sys, tempfile
os.environ["MEETING"] = tempfile.mkdtemp()
ranks = [
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "RANK": str(rank)})
    for rank in range(2)
]
sys.exit(max(rank.wait() for rank in ranks))
"""

RANK = """
import os, time, tunelog
rank = int(os.environ["RANK"])
with tunelog.init("m", writers="all", output_dir="out") as job:
    if "MEETING" in os.environ:  # as collectives do, nobody is done before all begin
        open(os.path.join(os.environ["MEETING"], str(rank)), "w").close()
        while len(os.listdir(os.environ["MEETING"])) < 2:
            time.sleep(0.01)
    for step in range(1, 4):
        job.log({"loss": 10.0 * rank + step}, step)
    job.log({"loss": 100.0 + rank}, 3, prefix="eval")
"""


def launch(spool: Path, script: str = RANK, **variables: str) -> None:
    """Two ranks under one launcher, as torchrun starts them on one machine."""
    ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500", **variables}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, script],
        env=environment(spool, **ranks),
        cwd=spool.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_ranks_of_a_launch_make_one_attempt_of_one_job_with_a_series_each(spool: Path) -> None:
    launch(spool)
    store = new_store()
    assert len(sync(spool, lambda: store).sent) == 2
    (job,) = store.jobs()
    assert job.status == "completed"
    assert [a.attempt for a in store.attempts(job.id)] == [1]
    logged = rows(store, job.id)
    for name, first in (("train/loss", 1.0), ("train/loss/rank1", 11.0)):
        series = [row[name] for row in logged if name in row]
        assert series == [first, first + 1, first + 2]
    evals = [row for row in logged if any(name.startswith("eval/") for name in row)]
    found = {name: row[name] for row in evals for name in row if name.startswith("eval/")}
    assert found == {"eval/loss": 100.0, "eval/loss/rank1": 101.0}


def test_the_next_launch_is_the_next_attempt_though_it_has_the_same_variables(spool: Path) -> None:
    launch(spool, RANK.replace("with", "job =", 1).replace(" as job:", "\nif True:"))
    launch(spool)
    store = new_store()
    assert len(sync(spool, lambda: store).sent) == 4
    (job,) = store.jobs()
    assert [a.attempt for a in store.attempts(job.id)] == [1, 2]
    assert len(rows(store, job.id)) == 8


def test_two_trainings_of_one_launch_are_two_jobs(spool: Path) -> None:
    twice = (
        "import tunelog, os\n"
        + 2
        * """
with tunelog.init("m", writers="all") as job:
    job.log({"loss": 1.0}, 1)
"""
    )
    launch(spool, twice)
    store = new_store()
    sync(spool, lambda: store)
    assert [len(rows(store, job.id)) for job in store.jobs()] == [2, 2]


def test_a_rank_that_is_heard_after_the_job_has_completed_still_belongs_to_it(spool: Path) -> None:
    launch(spool)
    store = new_store()
    first, second = sorted(spool.glob("*.spool"), key=lambda p: records(p)[1]["writer"])
    drain(first, store)
    (job,) = store.jobs()
    assert job.status == "completed"
    drain(second, store)
    assert [j.id for j in store.jobs()] == [job.id]
    assert store.job(job.id).status == "completed"
    assert len(rows(store, job.id)) == 8


def test_ranks_that_find_their_job_completed_begin_the_same_new_one(spool: Path) -> None:
    store = new_store()
    store.create_job(JobDetails(model="m"), "ft-done")
    store.update_job("ft-done", JobChanges(status="completed"))
    launch(spool, TUNELOG_JOB_ID="ft-done")
    sync(spool, lambda: store)
    new, done = store.jobs()
    assert (done.id, rows(store, done.id)) == ("ft-done", [])
    assert len(rows(store, new.id)) == 8


def test_a_rank_that_fails_says_so_of_the_job(spool: Path) -> None:
    script = RANK + "    if rank == 1: raise ArithmeticError('loss scale is zero')\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(spool, RANK="1", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2"),
        cwd=spool.parent,
        capture_output=True,
    )
    assert done.returncode == 1
    store = new_store()
    sync(spool, lambda: store)
    (job,) = store.jobs()
    assert job.status == "error"
    assert "ArithmeticError: loss scale is zero" in [e.message for e in store.events(job.id)]


def test_ranks_on_several_machines_that_cannot_agree_leave_the_recording_to_the_first(
    init: Init, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    init(writers="all").log({"loss": 1.0}, 1)
    assert not spool.exists()
    said = capsys.readouterr().err
    assert said == "tunelog: rank 5 records nothing: call init() after init_process_group()\n"
    monkeypatch.setenv("RANK", "0")
    init(writers="all")
    assert only_spool(spool)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),
        ({"OMPI_COMM_WORLD_RANK": "2"}, 2),
        ({"PMI_RANK": "2"}, 2),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, 1),
        ({"SLURM_PROCID": "1"}, 0),
        ({"RANK": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, 0),
        ({"RANK": "nonsense"}, 0),
    ],
)
def test_the_rank_is_the_launchers(
    init: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rank() == expected
