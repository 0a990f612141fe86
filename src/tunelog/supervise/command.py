"""A command as a process group of its own: begun, watched, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from msgspec import Struct

from tunelog.supervise.output import Output
from tunelog.supervise.tail import Tail

_LOOK_EVERY = 0.1
_ASK_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PASSED_ON = (*_ASK_TO_END, signal.SIGUSR1, signal.SIGUSR2)


class Ended(Struct, frozen=True):
    """How a command ended.

    Attributes:
        code: its exit code; 128 + n if signal n killed it, as a shell says it.
        killed_by: the signal that killed it, 0 if none did.
        cancelled: whether it was told to end because its job was cancelled.
        asked_by: the first signal to end that came to us and was passed on, 0 if none did.
    """

    code: int
    killed_by: int = 0
    cancelled: bool = False
    asked_by: int = 0

    @property
    def words(self) -> str:
        """The same in words."""
        if not self.killed_by:
            return f"exited with code {self.code}"
        return f"was killed by {_name(self.killed_by)}"


class Command:
    """One command, from its begin to its end.

    It is in a session of its own, so what reaches our terminal's processes reaches it once, through
    us: a first signal to end is passed on to its process group, a second one kills it.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], tail: Tail) -> None:
        """Nothing is started yet. What it prints goes to our streams, and to `tail`."""
        self._words = words
        self._environment = environment
        self._tail = tail
        self._pid = 0
        self._early: list[int] = []
        self._asked_by = 0

    def run(self, should_stop: Callable[[], bool], tick: Callable[[], None], grace: float) -> Ended:
        """Start it, and return when it has ended.

        Args:
            should_stop: whether it should be told to end, by SIGTERM.
            tick: is called some times a second.
            grace: seconds from there to SIGKILL.

        Raises `OSError` if it cannot be started.
        """
        output = Output(self._tail)
        with self._signals(output):
            process = self._start(output)
            kill_at = None
            while process.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_EVERY)
                tick()
                if kill_at is None and process.returncode is None and should_stop():
                    self._send(signal.SIGTERM)
                    kill_at = time.monotonic() + grace
                elif kill_at is not None and time.monotonic() >= kill_at:
                    self._kill()
            if kill_at is not None:
                self._outlast(kill_at)
            output.finish()
        killed_by = max(0, -process.returncode)
        return Ended(
            code=128 + killed_by if killed_by else process.returncode,
            killed_by=killed_by,
            cancelled=kill_at is not None,
            asked_by=self._asked_by,
        )

    def _start(self, output: Output) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                self._words,
                env=self._environment,
                # From another session a terminal cannot be read: better its end than a hang.
                stdin=subprocess.DEVNULL if _reads_terminal() else None,
                stdout=output.stdout,
                stderr=output.stderr,
                start_new_session=True,
            )
        except (OSError, ValueError):
            output.abandon()
            raise
        output.begin()
        self._pid = process.pid
        for number in self._early:
            self._send(number)
        return process

    def _outlast(self, kill_at: float) -> None:
        """Wait for what is left of a stopped command's process group, and kill it in the end."""
        while self._send(0):
            if time.monotonic() >= kill_at:
                self._kill()
                return
            time.sleep(_LOOK_EVERY)

    def _send(self, number: int) -> bool:
        """Send a signal to the process group; False if there is none any more."""
        try:
            os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _kill(self) -> None:
        """Kill the group, and what it started in groups of their own, as torchrun's workers are."""
        below = descendants(self._pid)
        self._send(signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    # ------------------------------------------------------------ signals to us

    @contextmanager
    def _signals(self, output: Output) -> Iterator[None]:
        """Pass signals on, but for those that whoever started us wanted ignored (nohup)."""

        def resized(number: int, frame: FrameType | None) -> None:
            output.resize()
            self._send_or_keep(signal.SIGWINCH)

        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            **dict.fromkeys(_PASSED_ON, self._pass_on),
            signal.SIGTSTP: self._pause,
            signal.SIGWINCH: resized,
        }
        before = {}
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if number in _ASK_TO_END and self._asked_by and self._pid:
            self._kill()
            return
        if number in _ASK_TO_END:
            self._asked_by = number
        self._send_or_keep(number)

    def _send_or_keep(self, number: int) -> None:
        if self._pid:
            self._send(number)
        else:
            self._early.append(number)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the command stops with us, and goes on with us."""
        self._send_or_keep(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send_or_keep(signal.SIGCONT)


def descendants(pid: int) -> list[int]:
    """The processes below a process, as far as the system tells (Linux)."""
    children: dict[int, list[int]] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in filter(str.isdigit, names):
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(pid, ()))
    for below in found:  # grows while it is walked
        found.extend(children.get(below, ()))
    return found


def _reads_terminal() -> bool:
    return sys.stdin is None or os.isatty(0)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
