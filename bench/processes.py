"""Servers as child processes: started, watched through /proc, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.clients import Connection, get

PATIENCE = 30.0
_ROOT = Path(__file__).parents[1]
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_LOOK = 0.002
"""Seconds between two looks at a server's memory."""


class ServerProcess:
    """A server on a free port of this machine, for the time of a `with`.

    It leads a session of its own, so that what it starts is counted, and ended, with it.

    Attributes:
        port: where it listens.
        start_seconds: from its exec to the first 200.
        start_cpu: the CPU seconds of that.
    """

    def __init__(
        self,
        command: Sequence[str],
        ready: str,
        variables: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """`command` lacks only the port's number at its end; `ready` answers 200 without a key."""
        self.port = _free_port()
        self._command = [*command, str(self.port)]
        self._ready = ready
        self._variables = variables or {}
        self._patience = patience
        self.start_seconds = self.start_cpu = 0.0

    def __enter__(self) -> Self:
        begun = time.perf_counter()
        inherited = {name: value for name, value in os.environ.items() if "TUNELOG" not in name}
        self._process = subprocess.Popen(
            self._command,
            cwd=_ROOT,
            env={**inherited, **self._variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not self._answers():
                if self._process.poll() is not None or time.perf_counter() - begun > self._patience:
                    raise RuntimeError(f"did not start: {' '.join(self._command)}")
                time.sleep(0.002)
        except BaseException:
            self._end()
            raise
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
        """CPU seconds that it and all that it started have used, to a hundredth."""
        return sum(sum(map(int, fields[11:15])) for _, fields in self._members()) * _TICK

    def memory(self) -> int:
        """Bytes of anonymous memory that it and all that it started hold now (RssAnon)."""
        return sum(_anonymous(pid) for pid, _ in self._members())

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Look at its memory all the time; the list holds the most that there was beyond now.

        By a thread of this process: start no processes meanwhile.
        """
        most = [0]
        idle = self.memory()
        pids = [pid for pid, _ in self._members()]
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                most[0] = max(most[0], sum(map(_anonymous, pids)) - idle)
                over.wait(_LOOK)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield most
        finally:
            over.set()
            thread.join()

    def rest(self, seconds: float = 1.0) -> None:
        """Wait until it has used next to no CPU for so long."""
        while True:
            begun = self.cpu_seconds()
            time.sleep(seconds)
            if self.cpu_seconds() - begun <= 0.02 * seconds:
                return

    def _members(self) -> Iterator[tuple[int, list[str]]]:
        """Each process of its session, with what proc_pid_stat(5) tells from the third field on."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.pid and fields[0] != "Z":
                        yield int(entry.name), fields

    def _answers(self) -> bool:
        try:
            with Connection(self.port) as connection:
                return connection.ask(get(self._ready)).status == 200
        except OSError:
            return False

    def _end(self) -> None:
        """Ask it to stop; end by force what is left of it."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        while left := list(self._members()):
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """CPU seconds that one process has used, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) * _TICK


def _anonymous(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def tunelog_server(store: Path, workers: int = 1) -> ServerProcess:
    """`tunelog serve` on a store file. Its access log goes to /dev/null, but is written."""
    command = [sys.executable, "-m", "tunelog", "serve", "--store", f"sqlite:///{store}"]
    command += ["--workers", str(workers)]
    return ServerProcess([*command, "--host", "127.0.0.1", "--port"], "/readyz")


def bare_server(folder: Path) -> ServerProcess:
    """The yardstick: bare uvicorn with the files of a folder in memory."""
    return ServerProcess([sys.executable, "-m", "bench.bare", str(folder)], "/")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
