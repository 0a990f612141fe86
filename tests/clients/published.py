"""Together's published clients as child processes, each told only what it needs to know.

Nothing of this machine reaches them: no home, no key, no sign of an agent or a CI (which change
what the CLI prints), and they tell nobody that they ran.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.serving import PATIENCE, Server, require

INSTALLED = Path(__file__).parents[2] / ".clients"
PYTHON_DRIVER = Path(__file__).with_name("together_driver.py")
NODE_DRIVER = Path(__file__).with_name("together_driver.mjs")

Outcome = dict[str, Any]

_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SPINNER = re.compile(r"[\u2800-\u28ff] [^\r\n]*\r*\n?")


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it wrote."""

    exit_code: int
    output: str
    errors: str = ""

    @property
    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.output)

    @property
    def cells(self) -> list[list[str]]:
        """The rows of the table in the output, heading first; what is wrapped is joined again."""
        rows: list[list[str]] = [[]]
        for line in self.output.splitlines():
            if line.startswith("│"):
                cells = [cell.strip() for cell in line.strip("│").split("│")]
                above = rows[-1] or [""] * len(cells)
                rows[-1] = [f"{a} {b}".strip() for a, b in zip(above, cells, strict=True)]
            elif line.startswith("├"):
                rows.append([])
        return rows


class _Driver:
    """A client library in a process of its own, which makes calls as long as it is asked to."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, wanted: str) -> list[Outcome]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{wanted}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the client broke down; its last words are on standard error"
        outcomes: list[Outcome] = json.loads(answer)
        return outcomes

    def end(self) -> None:
        self._process.communicate(timeout=PATIENCE)


class Published:
    """The clients, pointed at one server."""

    def __init__(self, server: Server, home: Path) -> None:
        """`home` becomes their user's home directory."""
        self._server = server
        self._home = home
        self._drivers: dict[str, _Driver] = {}

    def close(self) -> None:
        """Ends the processes that `python` and `node` began."""
        for driver in self._drivers.values():
            driver.end()

    def python(
        self, version: str, *calls: tuple[Any, ...], asynchronous: bool = False, **options: Any
    ) -> list[Outcome]:
        """Makes calls with the Python SDK.

        A call is the method's name, its positional arguments and, last, a dict of its keyword
        arguments; `options` are the client's.
        """
        python = _installed(version, "bin/python")
        wanted = {"asynchronous": asynchronous, "calls": [_call(call) for call in calls], **options}
        return self._driver(version, [python, str(PYTHON_DRIVER)], self._home).ask(repr(wanted))

    def node(self, *calls: Sequence[Any], **options: Any) -> list[Outcome]:
        """Makes calls with the TypeScript SDK: the method's name and its arguments."""
        folder = Path(_installed("npm", "package.json")).parent
        node = shutil.which("node")
        require(node, "node is not there")
        driver = self._driver("npm", [str(node), str(NODE_DRIVER)], folder)
        return driver.ask(json.dumps({"calls": calls, **options}))

    def _driver(self, name: str, command: list[str], folder: Path) -> _Driver:
        if name not in self._drivers:
            self._drivers[name] = _Driver(command, self._environment(), folder)
        return self._drivers[name]

    def _environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TOGETHER_API_KEY": self._server.api_key,
            "TOGETHER_BASE_URL": self._server.url,
            "TOGETHER_DISABLE_VERSION_CHECK": "1",
            "TOGETHER_TELEMETRY_DISABLED": "1",
            **more,
        }

    def tg(
        self, *arguments: str, columns: int = 110, version: str = "together-3", **variables: str
    ) -> Finished:
        """The command line client with its output going into a pipe."""
        done = subprocess.run(
            [_installed(version, "bin/tg"), *arguments],
            env=self._environment(**{"COLUMNS": str(columns), **variables}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def tg_in_terminal(self, *arguments: str, columns: int, typed: str = "") -> Finished:
        """The command line client in a terminal so wide, where someone has typed `typed`.

        What only colours, moves the cursor or is erased again is not in the output.
        """
        ours, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        with subprocess.Popen(
            [_installed("together-3", "bin/tg"), *arguments],
            env=self._environment(TERM="xterm-256color"),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        ) as process:
            os.close(terminal)
            os.write(ours, typed.encode())
            written = b"".join(iter(lambda: _read(ours), b""))
            os.close(ours)
        text = _SPINNER.sub("", _CONTROL_SEQUENCE.sub("", written.decode()))
        return Finished(process.returncode, text.replace("\r", ""))


def _call(call: tuple[Any, ...]) -> tuple[str, list[Any], dict[str, Any]]:
    method, *arguments = call
    options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    return method, arguments, options


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last process that had it open has ended
        return b""


def _installed(client: str, path: str) -> str:
    """A file of a client that scripts/clients has built to the end."""
    folder = INSTALLED / client
    require((folder / ".pins").exists(), f".clients/{client} is not there: run scripts/clients")
    return str(folder / path)
