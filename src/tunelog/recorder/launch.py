"""Starting a sender, and seeing whether it still runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

from tunelog.recorder.spool import LOG

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0


class SenderProcess:
    """The child process that sends one spool; started again when it ended too early.

    It is spawned, not forked, so it holds nothing of the trainer's memory. Nothing waits for it: it
    is in a session of its own and outlives the trainer until everything is sent.
    """

    def __init__(self, spool: str, environment: Mapping[str, str]) -> None:
        """`environment` has what differs from the trainer's own: the service's address and key."""
        self._spool = spool
        self._environment = environment
        self._pid = 0
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0

    def start(self) -> None:
        """Start it. Raises `OSError` if that cannot be done."""
        if not sys.executable:
            raise OSError("this interpreter does not know its own path")
        command = [sys.executable, "-P", "-m", "tunelog.sender", self._spool]
        with_log = os.open(self._spool + LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                command,
                {**os.environ, **_import_path(), **self._environment},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, with_log, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE),
            )
        finally:
            os.close(with_log)

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        if self._pid:
            try:
                ended, _ = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:  # someone else in this process waited for it
                ended = self._pid
            if ended:
                self._pid = 0
        return self._pid != 0

    def keep_running(self, now: float) -> None:
        """Start it again if it ended, with growing pauses. `now` in seconds. Raises `OSError`."""
        if self.runs() or now < self._not_before:
            return
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self.start()


def _import_path() -> Mapping[str, str]:
    """What lets the child import tunelog where it lies outside of the site directories."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(root) in ("site-packages", "dist-packages"):
        return {}
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{known}{os.pathsep}{root}" if known else root}
