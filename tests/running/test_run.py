"""`tunelog run`: the command's output and end, and what its job has of them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.recording import PATIENCE, until
from tests.running.runs import (
    PYTHON,
    attempts,
    begun,
    is_alive,
    job_of,
    job_said,
    python,
    run,
    sent,
    settings,
    told,
)
from tests.serving import COMMAND, Server


def test_a_command_that_succeeds_completes_its_job(server: Server, spool: Path) -> None:
    done = run(server, spool, "--model", "m", "--tags", "a,b", "--", "echo", "hello")
    assert (done.code, done.out) == (0, b"hello\n")
    job = job_of(server, done.job_id)
    assert (job.status, job.details.model, job.details.tags) == ("completed", "m", ("a", "b"))
    assert done.err.decode() == f"tunelog: job {job.id}: {server.url}/v1/fine-tunes/{job.id}\n"
    assert told(server, job.id, "output") == ["hello"]
    assert [a.attempt for a in attempts(server, job.id)] == [1]
    sent(spool)
    assert os.listdir(spool) == []


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("print('last words'); exit(3)", 3, "exited with code 3.\nlast words"),
        ("import os; os.kill(os.getpid(), 9)", 137, "was killed by SIGKILL."),
        ("import os; os.kill(os.getpid(), 15)", 143, "was killed by SIGTERM."),
        ("raise ValueError('bad data')", 1, "ValueError: bad data"),
    ],
)
def test_a_command_that_fails_ends_its_job_with_an_error(
    server: Server, spool: Path, script: str, code: int, words: str
) -> None:
    done = run(server, spool, *python(script))
    assert done.code == code
    assert job_of(server, done.job_id).status == "error"
    (message,) = (m for m in told(server, done.job_id, "job_error") if "job ended" not in m)
    assert message.startswith(os.path.basename(PYTHON))
    assert message.endswith(words)


def test_a_command_that_there_is_not_is_told_in_a_line(
    server: Server, spool: Path, tmp_path: Path
) -> None:
    done = run(server, spool, "--", "no-such-command")
    assert done.code == 127
    assert done.err.decode().splitlines()[1:] == ["tunelog: no-such-command: no such command"]
    assert job_of(server, done.job_id).status == "error"
    assert any("could not be started" in m for m in told(server, done.job_id, "job_error"))
    plain = tmp_path / "plain"
    plain.write_text("text")
    done = run(server, spool, "--", str(plain))
    assert done.code == 126
    assert done.err.decode().splitlines()[1:] == [f"tunelog: {plain}: permission denied"]


def test_without_a_command_it_is_wrong_usage(server: Server, spool: Path) -> None:
    for arguments in ((), ("--name", "x"), ("--no-such-flag", "true")):
        done = run(server, spool, *arguments)
        assert done.code == 2
        assert done.err.count(b"\n") == 1
    assert not spool.exists()


def test_output_is_passed_on_byte_for_byte(server: Server, spool: Path) -> None:
    script = r"""
import os, sys
os.write(1, bytes(range(256)) * 1000 + b"10%\r20%\r")
os.write(2, b"\xff\xfe\n")
os.write(1, sys.stdin.buffer.read())
"""
    done = run(server, spool, *python(script), typed=b"from \x00 stdin")
    assert done.out == bytes(range(256)) * 1000 + b"10%\r20%\rfrom \x00 stdin"
    assert done.err.endswith(b"\n\xff\xfe\n")
    assert done.code == 0


def test_output_is_passed_on_at_once(server: Server, spool: Path) -> None:
    script = "import sys; print('ready', flush=True); sys.stdin.readline(); print('end')"
    with begun(server, spool, *python(script)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        out, _ = process.communicate(b"\n", timeout=PATIENCE)
        assert out == b"end\n"


def test_streams_that_are_one_stay_in_order(server: Server, spool: Path) -> None:
    script = "import os\nfor i in range(500): os.write(1 + i % 2, b'%d\\n' % i)"
    done = subprocess.run(
        [*COMMAND, "run", *python(script)],
        env=settings(server, spool),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.split()[-500:] == [b"%d" % i for i in range(500)]


def test_in_a_terminal_the_command_is_in_one_too(server: Server, spool: Path) -> None:
    script = """
import os, sys
print([os.isatty(n) for n in range(3)], os.get_terminal_size(1).columns)
os.write(2, b"10%\\r20%\\x1b[0m\\n")
print(repr(sys.stdin.read()))
"""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (33, 77))
    process = subprocess.Popen(
        [*COMMAND, "run", *python(script)],
        env=settings(server, spool),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # how Linux tells that a terminal is closed
        pass
    os.close(controller)
    assert process.wait(PATIENCE) == 0
    assert shown.endswith(b"[False, True, True] 77\r\n10%\r20%\x1b[0m\r\n''\r\n"), shown


def test_a_reader_that_has_had_enough_ends_the_command(server: Server, spool: Path) -> None:
    with begun(server, spool, "--", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE


def test_what_the_command_left_running_is_not_waited_for(server: Server, spool: Path) -> None:
    done = run(server, spool, "--", "sh", "-c", "sleep 20 & echo $!")
    assert done.code == 0
    os.kill(int(done.out), signal.SIGKILL)  # it was left alone


# ---------------------------------------------------------------- signals and cancels

STUBBORN = """
import os, signal, subprocess, sys, time
if "%s":
    signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM", flush=True))
    signal.signal(signal.SIGINT, lambda *_: print("SIGINT", flush=True))
own = "import time; time.sleep(60)"
pids = [subprocess.Popen([sys.executable, "-c", own], start_new_session=new).pid
        for new in (False, True)]
print(*pids, flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, "cancelled"), (signal.SIGTERM, "error")]
)
def test_a_signal_is_passed_on(
    server: Server, spool: Path, number: signal.Signals, status: str
) -> None:
    with begun(server, spool, *python(STUBBORN % "")) as process:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    # Python ends by SIGINT with a traceback and, once it has been told, by the signal itself.
    assert process.returncode == 128 + number
    assert job_of(server, job_said(err)).status == status
    until(lambda: not is_alive(pids[0]), "the command's child to be gone, too")
    os.kill(pids[1], signal.SIGKILL)


def test_a_second_signal_kills_the_command_and_what_is_below_it(
    server: Server, spool: Path
) -> None:
    with begun(server, spool, *python(STUBBORN % "yes")) as process:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"SIGINT\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 137
    until(lambda: not any(map(is_alive, pids)), "the command's children to be gone, too")


def test_a_command_that_makes_room_leaves_its_job_to_the_next_attempt(
    server: Server, spool: Path
) -> None:
    script = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
signal.pause()
"""
    with begun(server, spool, *python(script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    job_id = job_said(err)
    assert job_of(server, job_id).status == "running"
    (message,) = told(server, job_id, "warning")
    assert "left to its next attempt" in message


LEAVES_ONE = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print(child.pid, flush=True)
signal.pause()
"""


def test_a_cancel_is_sigterm_and_after_the_grace_sigkill_to_all_of_the_command(
    server: Server, spool: Path
) -> None:
    runs = (("30", STUBBORN % ""), ("1", STUBBORN % "yes"), ("1", LEAVES_ONE))
    jobs, below, ended = [], [], []
    with ExitStack() as stack:
        processes = []
        for grace, script in runs:
            command = ("--grace", grace, *python(script))
            process = stack.enter_context(begun(server, spool, *command))
            assert process.stdout is not None
            assert process.stderr is not None
            jobs.append(job_said(process.stderr.readline()))
            below.append([int(pid) for pid in process.stdout.readline().split()])
            processes.append(process)
        for job_id in jobs:
            until(lambda: job_of(server, job_id).status == "running", "the job to run")  # noqa: B023
            with server.client() as api:
                api.post(f"/v1/fine-tunes/{job_id}/cancel")
        for process in processes:
            out, _ = process.communicate(timeout=PATIENCE)
            ended.append((process.returncode, out))
    assert ended == [(143, b""), (137, b"SIGTERM\n"), (143, b"")]
    assert [job_of(server, job_id).status for job_id in jobs] == ["cancelled"] * 3
    messages = [told(server, job_id, "warning")[-1] for job_id in jobs]
    name = os.path.basename(PYTHON)
    assert messages[0].startswith(f"{name} was killed by SIGTERM after the job was cancelled.")
    assert messages[1].startswith(f"{name} was killed by SIGKILL after the job was cancelled.")
    os.kill(below[0].pop(), signal.SIGKILL)  # in a group of its own, and nothing was killed
    for pids in below:
        until(lambda: not any(map(is_alive, pids)), "all of the command to be gone")  # noqa: B023
    sent(spool)
    assert os.listdir(spool) == []


def test_a_job_that_was_cancelled_before_it_began_stops_its_command(
    server: Server, spool: Path
) -> None:
    with server.client() as api:
        job_id = str(api.post("/v1/fine-tunes", json={"model": "m"}).json()["id"])
        assert api.post(f"/v1/fine-tunes/{job_id}/cancel").json()["status"] == "cancelled"
    done = run(server, spool, "--", "sleep", "60", TUNELOG_JOB_ID=job_id)
    assert (done.code, done.job_id) == (143, job_id)
    assert job_of(server, job_id).status == "cancelled"
