"""However a training ends, its spool tells as much as is known."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.recorded import Init, ends, events, snapshots
from tests.recording import environment, only_spool, records, train, training, until
from tunelog.recorder.spool import STATE, writer_lives
from tunelog.recorder.state import State, StateFile


@pytest.mark.parametrize("status", ["completed", "error", "cancelled", None])
def test_finish_says_how_it_ended(init: Init, spool: Path, status: Any) -> None:
    job = init()
    path = str(only_spool(spool))
    assert writer_lives(path)
    job.finish(status)
    job.finish("error")
    assert ends(spool) == [status]
    assert not writer_lives(path)


def test_finish_with_an_unknown_status_leaves_the_job_open(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad: Any = "done"
    init().finish(bad)
    assert ends(spool) == [None]
    assert "status 'done'" in capsys.readouterr().err


def test_what_comes_after_finish_is_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init()
    job.finish()
    for step in range(3):
        job.log({"loss": 1.0}, step)
    assert snapshots(spool) == []
    assert capsys.readouterr().err.count("called after finish()") == 1


def test_a_stop_that_the_training_has_seen_makes_its_end_a_cancelled_one(
    init: Init, spool: Path
) -> None:
    job = init()
    state = StateFile(str(only_spool(spool)) + STATE)
    state.write(State(stop=True))
    assert job.should_stop
    job.finish()
    assert job.should_stop
    assert ends(spool) == ["cancelled"]
    state.close()


def test_a_stop_that_nobody_looked_at_does_not(init: Init, spool: Path) -> None:
    job = init()
    state = StateFile(str(only_spool(spool)) + STATE)
    state.write(State(stop=True))
    job.finish()
    assert ends(spool) == ["completed"]
    state.close()


def test_the_handle_follows_the_job_that_the_service_made(
    init: Init, spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init(job_id="ft-old", output_dir=tmp_path)
    state = StateFile(str(only_spool(spool)) + STATE)
    state.write(State(job_id="ft-new", attempt=1))
    assert (job.id, job.attempt) == ("ft-new", 1)
    assert json.loads((tmp_path / "tunelog.json").read_text()) == {"job_id": "ft-new"}
    assert "job ft-old had ended; this training is job ft-new" in capsys.readouterr().err
    state.close()


@pytest.mark.parametrize("status", ["completed", "error", "cancelled"])
def test_a_job_may_end_before_its_recorder_does(
    init: Init, spool: Path, tmp_path: Path, status: Any
) -> None:
    job = init(output_dir=tmp_path)
    job.update(status=status)
    known = json.loads((tmp_path / "tunelog.json").read_text())
    assert known == {"job_id": job.id, **({"status": status} if status == "completed" else {})}
    job.log({"loss": 1.0}, step=3, prefix="eval")
    job.finish()
    assert [r["status"] for r in records(only_spool(spool), "update")] == [status]
    assert [s["step"] for s in snapshots(spool)] == [3]
    assert ends(spool) == [None]


BLOCK = """
import sys, tunelog
with tunelog.init("m") as job:
    job.log({"loss": 1.0}, step=1)
    %s
"""


@pytest.mark.parametrize(
    ("line", "status", "words", "code"),
    [
        ("pass", "completed", None, 0),
        ("raise ValueError('bad data')", "error", ("error", "ValueError: bad data"), 1),
        ("raise KeyboardInterrupt", "cancelled", ("warning", "KeyboardInterrupt"), -signal.SIGINT),
        ("sys.exit(3)", "error", ("error", "SystemExit: 3"), 3),
        ("sys.exit()", None, ("warning", "exited without finish()"), 0),
        ("job.finish('error'); sys.exit()", "error", None, 0),
    ],
)
def test_the_end_of_the_block_says_how_it_ended(
    spool: Path, line: str, status: str | None, words: tuple[str, str] | None, code: int
) -> None:
    done = train(BLOCK % line, environment(spool))
    assert done.returncode == code
    assert ends(spool) == [status]
    told = events(spool)
    assert len(told) == (words is not None)
    if words is not None:
        assert told[0][0] == words[0]
        assert words[1] in told[0][1]


SCRIPT = """
import os, sys, tunelog
job = tunelog.init("m")
job.log({"loss": 1.0}, step=1)
%s
"""


@pytest.mark.parametrize(
    ("line", "finishes", "words"),
    [
        ("pass", [None], ["The training process exited without finish(): the job is left open."]),
        (
            "sys.exit(1)",
            [None],
            ["The training process exited without finish(): the job is left open."],
        ),
        ("raise ValueError('bad data')", ["error"], ["ValueError: bad data"]),
        ("raise KeyboardInterrupt", ["cancelled"], ["KeyboardInterrupt"]),
        ("os._exit(0)", [], []),
        ("os.kill(os.getpid(), 9)", [], []),
        ("os.kill(os.getpid(), 15)", [], []),
        ("job.finish()", ["completed"], []),
        ("job.update(status='completed')", [None], []),
        ("job.update(status='completed'); raise ValueError('bad data')", [None], []),
    ],
)
def test_an_end_without_the_block_is_told_as_far_as_it_is_known(
    spool: Path, line: str, finishes: list[str | None], words: list[str]
) -> None:
    train(SCRIPT % line, environment(spool))
    assert ends(spool) == finishes
    assert [message for _, message in events(spool)] == words
    assert [s["step"] for s in snapshots(spool)] == [1]


def test_a_signal_handler_may_finish_in_the_middle_of_a_log(spool: Path) -> None:
    script = """
import signal, sys, tunelog
job = tunelog.init("m")
def stop(number, frame):
    job.log({"loss": 0.0}, step=0)
    job.finish(None, timeout=0)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("begun", flush=True)
while True:
    job.log({"loss": 1.0}, step=1)
"""
    with training(script, environment(spool)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: len(snapshots(spool)) > 100, "snapshots")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert ends(spool) == [None]
    assert snapshots(spool)[-1]["step"] == 0
    seqs = [s["seq"] for s in snapshots(spool)]
    assert len(set(seqs)) == len(seqs)


def test_log_while_the_interpreter_shuts_down_does_no_harm(spool: Path) -> None:
    script = """
import atexit, threading
held = {}
atexit.register(lambda: held["job"].log({"loss": 9.0}, step=9))  # runs after tunelog's own

import tunelog
job = held["job"] = tunelog.init("m")
atexit.register(lambda: job.log({"loss": 2.0}, step=2))  # runs before it

class Late:
    def __del__(self):
        job.log({"loss": 3.0}, step=3)
        job.event("late")
        job.should_stop
late = Late()
late.itself = late  # collected at the very end

begun = threading.Event()
def log_for_ever():
    while True:
        job.log({"loss": 1.0}, step=1)
        begun.set()
threading.Thread(target=log_for_ever, daemon=True).start()
begun.wait()
"""
    done = train(script, environment(spool))
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("called after finish()") == 1
    assert ends(spool) == [None]
    steps = {s["step"] for s in snapshots(spool)}
    assert steps == {1, 2}
