"""`tunelog sync --follow`: real trainings, copies of their spools, a server that comes and goes."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.recording import PATIENCE, environment, only_spool, train, training, until
from tests.running.runs import attempts, job_of, settings, store_of, told
from tests.serving import COMMAND, Server
from tunelog.backends.remote import RemoteStore
from tunelog.errors import NotFound

TRAINING = """
import os, sys, tunelog
host = %r
if host:  # another machine, as far as the recorder can tell
    here = os.uname()
    os.uname = lambda: type(here)((here[0], host, *here[2:]))
job = tunelog.init("m", job_id=%r)
for line in sys.stdin:
    job.log({"loss": 1.0}, step=int(line))
    print(line, flush=True)
job.finish(timeout=0)
"""


@contextmanager
def following(server: Server, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "sync", str(folder), "--follow", *arguments],
        env=settings(server, folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == f"sending what comes to {folder}, until Ctrl-C\n"
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, list[str]]:
    """What it printed on standard output, and the lines on standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err.splitlines()


def steps(store: RemoteStore, job_id: str) -> list[int]:
    try:
        chunks = store.read(job_id).chunks
    except NotFound:
        return []
    lines = [json.loads(line) for chunk in chunks for line in chunk.split(b",\n")]
    return [line["train/global_step"] for line in lines]


def log(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{step}\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{step}\n"
    process.stdout.readline()


def test_what_comes_is_sent_until_it_is_stopped(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    with following(server, folder) as follower, store_of(server) as store:
        script = TRAINING % ("", "ft-follow-1")
        with training(script, environment(folder)) as process:
            for step in range(3):
                log(process, step)
                until(lambda: steps(store, "ft-follow-1") == list(range(step + 1)), "a step")  # noqa: B023
            path = only_spool(folder)
            process.communicate(timeout=PATIENCE)
        until(lambda: os.listdir(folder) == [], "the spool to be removed")
        assert job_of(server, "ft-follow-1").status == "completed"
        out, err = ended(follower, signal.SIGINT)
    assert (out, err) == ("", [f"{path}: sent so far", f"{path}: sent"])


def test_a_copy_from_another_machine_stays_open_until_it_says_its_end(
    server: Server, tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    here.mkdir()

    def copy() -> None:
        """As rsync does it: a new file, then its name."""
        spool = only_spool(there)
        shutil.copyfile(spool, here / f".{spool.name}.Ab3x")
        os.rename(here / f".{spool.name}.Ab3x", here / spool.name)

    with following(server, here, "--json") as follower, store_of(server) as store:
        with training(TRAINING % ("node-7", "ft-follow-2"), environment(there)) as process:
            for step in range(3):
                log(process, step)
                copy()
                until(lambda: steps(store, "ft-follow-2") == list(range(step + 1)), "a step")  # noqa: B023
            process.communicate(timeout=PATIENCE)
        assert job_of(server, "ft-follow-2").status == "running"
        assert told(server, "ft-follow-2", "warning") == []
        path = here / only_spool(there).name
        copy()
        until(lambda: not path.exists(), "the spool to be removed")
        out, _ = ended(follower)
    assert [json.loads(line) for line in out.splitlines()] == [
        {"spool": str(path), "state": "open", "snapshots": 1},
        {"spool": str(path), "state": "sent", "snapshots": 3},
    ]
    assert job_of(server, "ft-follow-2").status == "completed"
    assert [a.attempt for a in attempts(server, "ft-follow-2")] == [1]


def test_a_training_of_this_machine_that_was_killed_is_told_to_be_gone(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    script = TRAINING.replace("job.finish(timeout=0)", "os._exit(1)") % ("", "ft-follow-3")
    with training(script, environment(folder)) as process:
        log(process, 0)
        process.communicate(timeout=PATIENCE)
    with following(server, folder) as follower:
        until(lambda: not list(folder.iterdir()), "the spool to be removed")
        ended(follower)
    (message,) = told(server, "ft-follow-3", "warning")
    assert "went without finish()" in message


def test_a_server_that_is_away_is_said_once_and_waited_for(
    fresh_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    for job_id in ("ft-follow-4", "ft-follow-5"):
        train(f'import tunelog; tunelog.init("m", job_id="{job_id}").finish()', environment(folder))
    fresh_server.kill()
    with following(fresh_server, folder) as follower:
        assert follower.stderr is not None
        first = follower.stderr.readline()
        assert "cannot be reached" in first
        assert "trying again" in first
        fresh_server.start()
        until(lambda: not list(folder.iterdir()), "the spools to be removed")
        _, err = ended(follower)
    assert err[0] == "tunelog: the service is back"
    assert [line.rpartition(": ")[2] for line in err[1:]] == ["sent", "sent"]


def test_a_recorder_that_has_a_sender_keeps_it(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    with following(server, folder) as follower, store_of(server) as store:
        own = settings(server, folder)
        with training(TRAINING % ("", "ft-follow-6"), own) as process:
            for step in range(5):
                log(process, step)
            until(lambda: steps(store, "ft-follow-6") == list(range(5)), "the steps")
            process.communicate(timeout=PATIENCE)
        until(lambda: not list(folder.glob("*.spool")), "the spool to be removed")
        _, err = ended(follower)
    assert job_of(server, "ft-follow-6").status == "completed"
    assert steps_of_all(server, "ft-follow-6") == list(range(5))
    assert told(server, "ft-follow-6", "warning") == []
    assert len(err) == len(set(err))


def steps_of_all(server: Server, job_id: str) -> list[int]:
    with store_of(server) as store:
        return steps(store, job_id)


def test_a_spool_that_cannot_be_sent_is_said_once_with_the_reason(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    train('import tunelog; tunelog.init("m", job_id="ft-follow-7").finish()', environment(folder))
    wrong = folder / "ft-0.0.spool"
    wrong.write_bytes(b"something else\n")
    with following(server, folder) as follower:
        assert follower.stderr is not None
        assert follower.stderr.readline().startswith(f"{wrong}: left: {wrong} is not a spool")
        assert follower.stderr.readline().endswith(": sent\n")
        _, err = ended(follower)
    assert err == []


def test_in_a_terminal_what_takes_longer_shows_a_bar(fresh_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    train('import tunelog; tunelog.init("m").finish()', environment(folder))
    controller, terminal = pty.openpty()
    os.kill(fresh_server.pid, signal.SIGSTOP)
    process = subprocess.Popen(
        [*COMMAND, "sync", str(folder)],
        env={**settings(fresh_server, folder), "TERM": "xterm-256color"},
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while b"sending" not in shown:
        shown += os.read(controller, 65536)
    os.kill(fresh_server.pid, signal.SIGCONT)
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # how Linux tells that a terminal is closed
        pass
    os.close(controller)
    assert process.wait(PATIENCE) == 0
    assert b": sent" in shown
