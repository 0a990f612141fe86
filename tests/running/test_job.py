"""`tunelog run` and a command that records itself; restarts under one name; a server away."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.commands import run as command
from tests.recording import PATIENCE, until
from tests.running.runs import (
    PYTHON,
    attempts,
    begun,
    job_of,
    job_said,
    left_of_run,
    python,
    run,
    sent,
    settings,
    store_of,
    told,
)
from tests.serving import COMMAND, Server
from tunelog.model import SnapshotQuery

TRAINING = """
import sys, tunelog
with tunelog.init("Qwen/Qwen3-0.6B", from_step=%s, n_epochs=2) as job:
    for step in range(%d, %d):
        job.log({"loss": 1 / (step + 1)}, step=step)
print(job.id, flush=True)
sys.exit(%d)
"""


def steps(server: Server, job_id: str, attempt: int | None = None) -> list[int]:
    """The steps of the effective history, or of one attempt."""
    with store_of(server) as store:
        chunks = store.read(job_id, SnapshotQuery(attempt=attempt)).chunks
        lines = [json.loads(line) for chunk in chunks for line in chunk.split(b",\n")]
        return [line["train/global_step"] for line in lines]


def test_a_command_that_records_itself_is_the_same_job_and_attempt(
    server: Server, spool: Path
) -> None:
    done = run(server, spool, "--tags", "kept", *python(TRAINING % (None, 0, 5, 0)))
    sent(spool)
    assert done.out.decode().split() == [done.job_id]
    job = job_of(server, done.job_id)
    assert (job.status, job.details.model) == ("completed", "Qwen/Qwen3-0.6B")
    assert (job.details.n_epochs, job.details.tags) == (2, ("kept",))
    assert [a.attempt for a in attempts(server, job.id)] == [1]
    assert steps(server, job.id, 1) == [0, 1, 2, 3, 4]
    assert left_of_run(spool) == []


def test_the_exit_code_has_the_last_word(server: Server, spool: Path) -> None:
    done = run(server, spool, *python(TRAINING % (None, 0, 5, 7)))
    sent(spool)
    assert done.code == 7
    assert job_of(server, done.job_id).status == "error"


def test_a_restart_under_the_same_name_is_the_next_attempt(server: Server, spool: Path) -> None:
    first = run(server, spool, "--name", "again", *python(TRAINING % (None, 0, 8, 1)))
    second = run(server, spool, "--name", "again", *python(TRAINING % (6, 6, 9, 0)))
    sent(spool)
    assert second.job_id == first.job_id
    assert [(a.attempt, a.from_step) for a in attempts(server, first.job_id)] == [
        (1, None),
        (2, 6),
    ]
    assert steps(server, first.job_id) == list(range(9))
    assert job_of(server, first.job_id).status == "completed"
    third = run(server, spool, "--name", "again", "--", "true")
    assert third.job_id != first.job_id
    assert job_of(server, third.job_id).details.name == "again"
    assert job_of(server, first.job_id).status == "completed"


def test_a_restart_supersedes_before_it_has_logged(server: Server, spool: Path) -> None:
    first = run(server, spool, "--name", "at once", *python(TRAINING % (None, 0, 8, 1)))
    script = 'import tunelog; tunelog.init("m", from_step=3); print("ready", flush=True); input()'
    with begun(server, spool, "--name", "at once", *python(script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: steps(server, first.job_id) == [0, 1, 2], "the rest to be superseded")
        assert job_of(server, first.job_id).status == "running"
        process.communicate(b"\n", timeout=PATIENCE)
    sent(spool)
    assert [a.attempt for a in attempts(server, first.job_id)] == [1, 2]


def test_a_cancelled_job_is_entered_again_from_another_machine(
    server: Server, spool: Path, tmp_path: Path
) -> None:
    script = "import signal; print('ready', flush=True); signal.pause()"
    with begun(server, spool, "--name", "stopped", *python(script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        _, err = process.communicate(timeout=PATIENCE)
    assert job_of(server, job_said(err)).status == "cancelled"
    again = run(server, tmp_path / "elsewhere", "--name", "stopped", "--", "true")
    assert again.job_id == job_said(err)
    assert job_of(server, again.job_id).status == "completed"


def test_a_completed_job_is_not_entered_by_its_id(server: Server, spool: Path) -> None:
    first = run(server, spool, "--", "true")
    again = run(server, spool, "--", "true", TUNELOG_JOB_ID=first.job_id)
    assert f"job {first.job_id} has completed; this is a new one".encode() in again.err
    assert again.job_id != first.job_id
    assert len(attempts(server, first.job_id)) == 1
    assert run(server, spool, "--", "true", TUNELOG_JOB_ID="baseline").code == 2


def test_a_command_may_post_with_what_it_finds_in_its_variables(
    server: Server, spool: Path
) -> None:
    script = """
import json, os, urllib.request
def post(path, body):
    request = urllib.request.Request(
        f"{os.environ['TUNELOG_URL']}/v1/fine-tunes/{os.environ['TUNELOG_JOB_ID']}/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {os.environ['TUNELOG_API_KEY']}"},
    )
    urllib.request.urlopen(request).close()
for step in range(3):
    post("metrics", {"metrics": [{"train/global_step": step, "train/loss": 1.0}]})
"""
    done = run(server, spool, *python(script))
    assert (done.code, done.err.count(b"\n")) == (0, 1), done.err
    assert steps(server, done.job_id, 1) == [0, 1, 2]
    assert len(attempts(server, done.job_id)) == 1


def test_of_several_processes_one_goes_on_with_the_attempt(server: Server, spool: Path) -> None:
    script = """
import os, subprocess, sys
worker = "import tunelog; job = tunelog.init('m'); job.log({'loss': 1.0}, 1); job.finish()"
workers = [
    subprocess.Popen([sys.executable, "-c", worker], env={**os.environ, "RANK": str(rank)})
    for rank in range(3)
]
sys.exit(max(worker.wait() for worker in workers))
"""
    done = run(server, spool, *python(script))
    sent(spool)
    assert done.code == 0
    assert [a.attempt for a in attempts(server, done.job_id)] == [1]
    assert steps(server, done.job_id, 1) == [1]


def test_run_in_run_is_one_job_and_the_outer_has_the_last_word(server: Server, spool: Path) -> None:
    inner = [PYTHON, "-m", "tunelog", "run", *python(TRAINING % (None, 0, 3, 0))]
    done = run(server, spool, "--", "sh", "-c", '"$@"; exit 4', "sh", *inner)
    sent(spool)
    assert done.code == 4
    job_id = done.out.decode().split()[-1]
    assert [a.attempt for a in attempts(server, job_id)] == [1]
    assert steps(server, job_id, 1) == [0, 1, 2]
    assert job_of(server, job_id).status == "error"


# ---------------------------------------------------------------- a server away, no key


def test_without_a_server_the_command_runs_and_sync_sends_later(
    fresh_server: Server, spool: Path
) -> None:
    fresh_server.kill()
    arguments = ("--name", "alone", *python(TRAINING % (None, 0, 5, 1)))
    first = run(fresh_server, spool, *arguments, TUNELOG_GIVE_UP_AFTER="0")
    second = run(
        fresh_server,
        spool,
        "--name",
        "alone",
        *python(TRAINING % (3, 3, 6, 0)),
        TUNELOG_GIVE_UP_AFTER="0",
    )
    assert (first.code, second.code) == (1, 0)
    assert first.job_id == second.job_id
    third = run(fresh_server, spool, "--name", "alone", "--", "true", TUNELOG_GIVE_UP_AFTER="0")
    assert third.job_id != first.job_id

    fresh_server.start()
    until(
        lambda: (
            command(fresh_server, "sync", str(spool)).returncode == 0 and left_of_run(spool) == []
        ),
        "everything to be sent",
    )
    assert [(a.attempt, a.from_step) for a in attempts(fresh_server, first.job_id)] == [
        (1, None),
        (2, 3),
    ]
    assert steps(fresh_server, first.job_id) == list(range(6))
    assert job_of(fresh_server, first.job_id).status == "completed"
    assert first.job_id in "\n".join(told(fresh_server, first.job_id, "output"))
    assert job_of(fresh_server, third.job_id).status == "completed"


def test_a_job_that_only_this_machine_knows_is_entered_again(
    fresh_server: Server, spool: Path
) -> None:
    older = run(fresh_server, spool, "--name", "x", "--", "true")
    fresh_server.kill()
    first = run(fresh_server, spool, "--name", "x", "--", "false", TUNELOG_GIVE_UP_AFTER="0")
    fresh_server.start()
    second = run(fresh_server, spool, "--name", "x", "--", "true")
    assert older.job_id != first.job_id == second.job_id
    sent(spool)
    assert [a.attempt for a in attempts(fresh_server, first.job_id)] == [1, 2]
    assert job_of(fresh_server, first.job_id).status == "completed"


def test_without_a_key_it_is_said_once_and_the_command_runs(server: Server, spool: Path) -> None:
    done = run(server, spool, "--name", "x", "--", "echo", "done", TUNELOG_API_KEY="")
    assert (done.code, done.out) == (0, b"done\n")
    assert done.err.count(b"no API key was given") == 1
    assert len(list(spool.glob("*.spool"))) == 1
    assert command(server, "sync", str(spool)).returncode == 0
    assert job_of(server, done.job_id).status == "completed"


def test_a_spool_that_cannot_be_written_does_not_keep_the_command_from_running(
    server: Server, tmp_path: Path
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    done = run(server, taken, "--name", "x", "--", "echo", "done")
    assert (done.code, done.out) == (0, b"done\n")
    assert b"nothing will be recorded" in done.err


@pytest.mark.parametrize("flag", [True, False])
def test_flags_are_passed_on_as_variables(server: Server, spool: Path, flag: bool) -> None:
    script = "import os; print(*(os.environ['TUNELOG_' + n] for n in ('URL', 'API_KEY', 'SPOOL')))"
    given = ("--url", f"{server.url}/v1", "--api-key", server.api_key) if flag else ()
    variables = {k: v for k, v in settings(server, spool).items() if not flag or k[-3:] == "OOL"}
    done = subprocess.run(
        [*COMMAND, "run", *given, *python(script)],
        env=variables,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    url = f"{server.url}/v1" if flag else server.url
    assert done.stdout.decode().split() == [url, server.api_key, os.path.abspath(spool)]
    assert job_of(server, job_said(done.stderr)).status == "completed"
