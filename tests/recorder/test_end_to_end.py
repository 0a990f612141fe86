"""Real trainings, each a process, recorded through real senders to a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.recording import (
    PATIENCE,
    environment,
    only_spool,
    records,
    senders,
    train,
    training,
    until,
)
from tests.serving import Server
from tunelog.backends.remote import RemoteStore
from tunelog.model import SnapshotQuery
from tunelog.sender import sync

TRAINING = """
import math, sys, tunelog
with tunelog.init("Qwen/Qwen3-0.6B", n_epochs=1, total_steps=300) as job:
    print(job.id, flush=True)
    for step in range(300):
        job.log({"loss": 1 / (step + 3), "grad_norm": math.inf if step == 7 else 0.1 * step}, step)
        if step % 100 == 99:
            job.log({"loss": math.pi / step}, step, prefix="eval")
            job.checkpoint(f"out/checkpoint-{step}", step=step)
"""

LONG_TRAINING = """
import itertools, os, time, tunelog
with tunelog.init("Qwen/Qwen3-0.6B") as job:
    print(job.id, flush=True)
    for step in itertools.count():
        job.log({"loss": 1 / (step + 3)}, step)
        if job.should_stop or %s:
            break
        time.sleep(0.002)
print(step, flush=True)
"""


def settings(server: Server, spool: Path, **variables: str) -> dict[str, str]:
    return environment(
        spool,
        TUNELOG_OFFLINE="0",
        TUNELOG_URL=server.url,
        TUNELOG_API_KEY=server.api_key,
        **variables,
    )


@contextmanager
def store_of(server: Server) -> Iterator[RemoteStore]:
    with closing(RemoteStore(server.url, server.api_key)) as store:
        yield store


def rows(server: Server, job_id: str) -> list[dict[str, Any]]:
    with store_of(server) as store:
        chunks = store.read(job_id, SnapshotQuery(attempt="all", nonfinite="string")).chunks
        return [json.loads(line) for chunk in chunks for line in chunk.split(b",\n")]


def steps(server: Server, job_id: str) -> list[int]:
    return [row["train/global_step"] for row in rows(server, job_id)]


def status(server: Server, job_id: str) -> str:
    with store_of(server) as store:
        return store.job(job_id).status


def spools(spool: Path) -> list[str]:
    return sorted(os.listdir(spool))


def test_a_training_is_recorded_bit_for_bit(server: Server, spool: Path) -> None:
    done = train(TRAINING, settings(server, spool))
    assert (done.returncode, done.stderr) == (0, "")
    job_id = done.stdout.strip()
    found = rows(server, job_id)
    assert len(found) == 303
    train_rows = [row for row in found if "train/loss" in row]
    assert [row["train/loss"] for row in train_rows] == [1 / (step + 3) for step in range(300)]
    assert train_rows[7]["train/grad_norm"] == "Infinity"
    with store_of(server) as store:
        job = store.job(job_id)
        assert (job.status, job.details.total_steps) == ("completed", 300)
        assert [c.step for c in store.checkpoints(job_id)] == [99, 199, 299]
    until(lambda: spools(spool) == [], "the spool to be removed")


def test_a_server_that_is_absent_at_the_start_costs_nothing(
    fresh_server: Server, spool: Path
) -> None:
    fresh_server.kill()
    script = TRAINING.replace("with ", "job = ").replace(" as job:", "\nif True:")
    done = train(script + "    job.finish(timeout=0)\n", settings(fresh_server, spool))
    assert done.returncode == 0
    assert "not all is sent yet" in done.stderr
    fresh_server.start()
    job_id = done.stdout.strip()
    until(lambda: spools(spool) == [], "the sender to have sent everything")
    assert len(rows(fresh_server, job_id)) == 303
    assert status(fresh_server, job_id) == "completed"


def test_a_server_that_dies_and_comes_back_has_every_snapshot_once(
    fresh_server: Server, spool: Path, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    until_told = LONG_TRAINING % f"os.path.exists({str(end)!r})"
    with training(until_told, settings(fresh_server, spool)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        for _ in range(2):
            seen = len(until(lambda: _known_rows(fresh_server, job_id), "snapshots"))
            fresh_server.kill()
            fresh_server.start()
            until(lambda: len(rows(fresh_server, job_id)) > seen, "more snapshots")  # noqa: B023
        end.touch()
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    until(lambda: spools(spool) == [], "the rest to be sent")
    assert steps(fresh_server, job_id) == list(range(int(out) + 1))
    assert status(fresh_server, job_id) == "completed"


def test_a_sender_that_is_killed_is_replaced(server: Server, spool: Path) -> None:
    with training(LONG_TRAINING % "step == 800", settings(server, spool)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(lambda: _known_rows(server, job_id), "snapshots")
        (pid,) = senders(spool)
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    until(lambda: spools(spool) == [], "the rest to be sent")
    assert steps(server, job_id) == list(range(801))
    assert status(server, job_id) == "completed"


def test_a_trainer_that_is_killed_loses_nothing_and_goes_on_in_the_same_job(
    server: Server, spool: Path, tmp_path: Path
) -> None:
    script = LONG_TRAINING.replace('B")', 'B", output_dir=%r, from_step=%s)')
    with training(script % (str(tmp_path), None, "False"), settings(server, spool)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(lambda: len(_known_rows(server, job_id)) > 50, "snapshots")
        process.kill()
        process.wait(PATIENCE)
    until(lambda: spools(spool) == [], "the sender to have sent the rest")
    first = steps(server, job_id)
    assert first == list(range(len(first)))
    assert status(server, job_id) == "running"
    done = train(script % (str(tmp_path), 40, "step == 60"), settings(server, spool))
    assert done.stdout.split() == [job_id, "60"]
    with store_of(server) as store:
        assert [(a.attempt, a.from_step) for a in store.attempts(job_id)] == [(1, None), (2, 40)]
        found = store.read(job_id)
        assert found.matched == 61
        found.chunks.close()  # type: ignore[attr-defined]
    assert status(server, job_id) == "completed"


GRACE = 1.0
"""Seconds that a machine that is taken away leaves between SIGTERM and SIGKILL."""

PREEMPTED = """
import itertools, signal, time, tunelog
job = tunelog.init("Qwen/Qwen3-0.6B")
def save(number, frame):
    job.event("asked to make room")
    time.sleep(60)  # it takes its time
if %s:
    signal.signal(signal.SIGTERM, save)
print(job.id, flush=True)
for step in itertools.count():
    job.log({"loss": 1 / (step + 3)}, step)
    time.sleep(0.001)
"""


@pytest.mark.parametrize("handles_it", [False, True])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_training_that_gets_sigterm_and_a_second_of_grace_loses_nothing(
    fresh_server: Server, spool: Path, handles_it: bool, is_away: bool
) -> None:
    with training(PREEMPTED % handles_it, settings(fresh_server, spool)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(lambda: len(_known_rows(fresh_server, job_id)) > 20, "snapshots")
        if is_away:
            fresh_server.kill()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        ended_by = -process.wait(PATIENCE)
        kept = len(records(only_spool(spool), "snapshot")) if is_away else 0
    assert ended_by == (signal.SIGKILL if handles_it else signal.SIGTERM)
    if is_away:
        fresh_server.start()
    until(lambda: spools(spool) == [], "the sender to have sent the rest")
    found = steps(fresh_server, job_id)
    assert found == list(range(len(found)))
    assert len(found) == kept if is_away else len(found) > 20
    assert status(fresh_server, job_id) == "running"
    with store_of(fresh_server) as store:
        told = [event.message for event in store.events(job_id)]
    assert ("asked to make room" in told) == handles_it
    assert any("went without finish()" in words for words in told)


def test_a_cancel_ends_the_training(server: Server, spool: Path) -> None:
    with training(LONG_TRAINING % "False", settings(server, spool)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(lambda: _known_rows(server, job_id), "snapshots")
        with store_of(server) as store:
            store.cancel_job(job_id)
        assert process.wait(PATIENCE) == 0
    until(lambda: spools(spool) == [], "the rest to be sent")
    assert status(server, job_id) == "cancelled"


def test_a_snapshot_that_the_server_refuses_is_set_aside(tmp_path: Path, spool: Path) -> None:
    script = """
import tunelog
with tunelog.init("m") as job:
    print(job.id)
    for step in range(50):
        job.log({f"m{i}": 1.0 for i in range(20 if step == 17 else 3)}, step)
"""
    (tmp_path / "server").mkdir()
    with Server(tmp_path / "server", "--max-row-keys", "10") as small:
        done = train(script, settings(small, spool))
        job_id = done.stdout.strip()
        assert steps(small, job_id) == [step for step in range(50) if step != 17]
        with store_of(small) as store:
            told = [event.message for event in store.events(job_id) if event.type == "warning"]
        assert len(told) == 1
        assert "row 0: 22 keys, more than the 10 allowed" in told[0]
    until(lambda: len(spools(spool)) == 1, "the spool to be removed")
    (aside,) = spools(spool)
    assert aside.endswith(".rejected.jsonl")


def test_a_wrong_key_is_said_once_and_sync_sends_it_later(server: Server, spool: Path) -> None:
    wrong: Mapping[str, str] = {
        **settings(server, spool, TUNELOG_GIVE_UP_AFTER="0"),
        "TUNELOG_API_KEY": "tl-wrong",
    }
    done = train(TRAINING, wrong)
    assert done.returncode == 0
    assert done.stderr.count("this API key does not exist") == 1
    assert "tunelog sync" in done.stderr
    until(lambda: not senders(spool), "the sender to give up")
    with store_of(server) as store:
        report = sync(spool, lambda: store)
    assert (len(report.sent), report.snapshots) == (1, 303)
    assert status(server, done.stdout.strip()) == "completed"


def _known_rows(server: Server, job_id: str) -> list[dict[str, Any]]:
    """The job's rows; none while the server does not know it yet."""
    with server.client() as api:
        answer = api.get(f"/v1/fine-tunes/{job_id}/metrics")
        return answer.json()["metrics"] if answer.status_code == 200 else []
