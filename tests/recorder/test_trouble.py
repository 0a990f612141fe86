"""A disk, a sender or a stderr that fails: it is said once and training goes on."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.recorder.recorded import Init, ends, events, snapshots
from tests.recording import environment, only_spool, train


def test_a_spool_that_cannot_be_made_is_said_once_and_training_goes_on(
    init: Init, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with init(spool=tmp_path / "file" / "spool") as job:
        for step in range(3):
            job.log({"loss": 1.0}, step)
        job.checkpoint("out", step=1)
        assert not job.should_stop
        assert job.id
    first, *more = capsys.readouterr().err.splitlines()
    assert "nothing will be recorded" in first
    assert len(more) == 2


def test_a_full_disk_is_said_once_and_what_comes_later_is_kept(spool: Path) -> None:
    script = """
import os, resource, tunelog
job = tunelog.init("m")
job.log({"loss": 1.0}, step=1)
(path,) = [os.path.join(root, f) for root, _, files in os.walk(os.environ["TUNELOG_SPOOL"])
           for f in files if f.endswith(".spool")]
full = os.path.getsize(path) + 50
resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
for step in range(2, 100):
    job.log({"loss": 1.0}, step=step)
    job.checkpoint("out", step=step)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
job.log({"loss": 1.0}, step=100)
job.finish()
"""
    done = train(script, environment(spool))
    assert done.returncode == 0
    assert [s["step"] for s in snapshots(spool)] == [1, 100]
    said = [line for line in done.stderr.splitlines() if "was not recorded" in line]
    assert 1 <= len(said) <= 6
    assert "could not be recorded" in events(spool)[-1][1]
    assert ends(spool) == ["completed"]


def test_what_a_full_disk_did_not_take_is_told_as_soon_as_there_is_space(
    init: Init, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = init()
    full = os.path.getsize(only_spool(spool)) + 50
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, unlimited[1]))
    try:
        for step in range(7):
            job.log({"loss": 1.0}, step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    later = time.time_ns() + 6 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    job.log({"loss": 1.0}, 7)
    (told,) = [words for _, words in events(spool) if "could not be recorded" in words]
    assert told.startswith("7 could not be recorded: 'log()' ")
    assert [s["step"] for s in snapshots(spool)] == [7]


def test_a_sender_that_cannot_be_started_is_said_and_all_is_kept(spool: Path) -> None:
    script = """
import sys, tunelog
sys.executable = ""
with tunelog.init("m") as job:
    job.log({"loss": 1.0}, step=1)
"""
    done = train(script, environment(spool, TUNELOG_OFFLINE="0"))
    assert done.returncode == 0
    assert done.stderr.count("no sender could be started") == 1
    assert len(snapshots(spool)) == 1
    assert ends(spool) == ["completed"]


def test_a_closed_stderr_does_no_harm(spool: Path) -> None:
    script = """
import os, sys, tunelog
job = tunelog.init("m")
sys.stderr.close()
job.log({"bad": "x"}, step=1)
sys.stderr = None
job.log({"worse": "x"}, step=1)
job.log({"loss": 1.0}, step=1)
job.finish()
"""
    assert train(script, environment(spool)).returncode == 0
    assert len(snapshots(spool)) == 1
