"""Child processes that none outlives the tests, and ports that nobody takes meanwhile."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.serving import PATIENCE

# The hangup is what the system says to a group that is left alone with one of its processes paused.
_GUARD = ("/bin/sh", "-c", "trap '' HUP; read nothing; kill -KILL 0")
_ports: set[int] = set()


def free_port() -> int:
    """A port of this machine that nobody listens at.

    It lies below those that the system gives to outgoing connections, so that none of these takes
    it between this look and its owner's start, or while its owner is dead for a while.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        if port not in _ports and _is_free(port):
            _ports.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Group:
    """Processes that are killed together: by `close`, or when the tests end in whatever way.

    They are one process group, led by a guard that waits for the end of its input: the system ends
    that even if the tests are killed.
    """

    def __init__(self, folder: Path) -> None:
        """What the processes print goes to files in `folder`."""
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, process_group=0)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a process under a name."""
        with self._output(name).open("ab") as output:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=self._guard.pid,
            )

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Return once a process is ready; raise if it has ended instead."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            code = self._running[name].poll()
            if code is not None or time.monotonic() > deadline:
                said = self._output(name).read_text(errors="replace")[-2000:]
                state = "is not ready" if code is None else f"ended with {code}"
                raise RuntimeError(f"{name} {state}:\n{said}")
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        """End a process without a chance to do anything more."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def pause(self, name: str) -> None:
        """A process does nothing from now on, and its connections stay open."""
        self._running[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """A process that was paused goes on."""
        self._running[name].send_signal(signal.SIGCONT)

    def pid(self, name: str) -> int:
        """A process's id."""
        return self._running[name].pid

    def __contains__(self, name: str) -> bool:
        """Was a process started, and not killed since?"""
        return name in self._running

    def close(self) -> None:
        """Kill all."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        for process in (self._guard, *self._running.values()):
            process.wait()
        self._running.clear()

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.output"
