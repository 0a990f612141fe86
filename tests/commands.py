"""The real command `tunelog` as a child process: in a pipe, in a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess

from tests.serving import COMMAND, PATIENCE, Server

OK, REFUSED, WRONG_USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def environment(server: Server, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TUNELOG_", "COLUMNS"))}
    return {**inherited, "TUNELOG_URL": server.url, "TUNELOG_API_KEY": server.api_key, **more}


def run(server: Server, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `tunelog` in a pipe; `more` are further variables."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(server, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def out(server: Server, *arguments: str, **more: str) -> str:
    """The standard output of a command that must succeed, and say nothing else."""
    done = run(server, *arguments, **more)
    assert (done.returncode, done.stderr) == (OK, "")
    return done.stdout


def in_terminal(server: Server, columns: int, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run `tunelog` in a terminal so wide; `answer` is typed. Exit code, and what is shown."""
    controller, terminal = pty.openpty()
    variables = environment(server, COLUMNS=str(columns), LINES="40", TERM="xterm-256color")
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=variables, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    os.write(controller, answer.encode())
    shown = b""
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # how Linux tells that a terminal is closed
        pass
    os.close(controller)
    return process.wait(PATIENCE), shown.decode()


def uncoloured(shown: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "").splitlines()
