"""Servers as child processes: started, watched through /proc, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.clients import Connection, get

PATIENCE = 30.0
_ROOT = Path(__file__).parents[1]


class ServerProcess:
    """A server on a free port of this machine, for the time of a `with`.

    Attributes:
        port: where it listens.
        start_seconds: from its exec to the first 200.
        start_cpu: the CPU seconds of that.
    """

    def __init__(self, command: Sequence[str], ready: str) -> None:
        """`command` lacks only the port's number at its end; `ready` answers 200 without a key."""
        self.port = _free_port()
        self._command = [*command, str(self.port)]
        self._ready = ready
        self.start_seconds = self.start_cpu = 0.0

    def __enter__(self) -> Self:
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if "TUNELOG" not in name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - begun > PATIENCE:
                self._end()
                raise RuntimeError(f"did not start: {' '.join(self._command)}")
            time.sleep(0.002)
        self.start_seconds = time.perf_counter() - begun
        self.start_cpu = self.cpu_seconds()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU seconds that it has used, to a hundredth."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> int:
        """The most bytes that it ever held in memory (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("this kernel does not tell VmHWM")

    def _answers(self) -> bool:
        try:
            with Connection(self.port) as connection:
                return connection.ask(get(self._ready)).status == 200
        except OSError:
            return False

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def tunelog_server(store: Path) -> ServerProcess:
    """`tunelog serve` on a store file. Its access log goes to /dev/null, but is written."""
    command = [sys.executable, "-m", "tunelog", "serve", "--store", f"sqlite:///{store}"]
    return ServerProcess([*command, "--host", "127.0.0.1", "--port"], "/readyz")


def bare_server(folder: Path) -> ServerProcess:
    """The yardstick: bare uvicorn with the files of a folder in memory."""
    return ServerProcess([sys.executable, "-m", "bench.bare", str(folder)], "/")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
