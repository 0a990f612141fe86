"""Several processes that serve together: forked, begun again when they die, ended with one another.

uvicorn has a supervisor of its own. Its workers live on when it is killed, it begins one that dies
again and again without a pause, and it has each import everything anew.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from tunelog.cli.worker import STOPPING

CANNOT_START = 3
"""The exit code of a worker that could not serve at all, and has said why."""

_HEARD = (*STOPPING, signal.SIGCHLD)
_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_LONG = 60.0
"""Seconds after which a worker's life counts as one, so that its death is answered at once."""


class Workers:
    """The parent of worker processes, which does nothing but look after them.

    It has no thread and no store open, so that it can fork at any time, and takes signals one by
    one, so that none of them finds it in the middle of something.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int, int], int],
        stop: Callable[[], None],
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        """From here on, signals wait until `run` hears them.

        Args:
            count: how many workers there are to be.
            work: is called in a worker with its number and its lifeline, a descriptor that ends
                when this process does; answers the exit code.
            stop: is called in this process when the workers are to end.
            log: takes the fields of a log line.
        """
        self._work, self._end, self._log = work, stop, log
        self._due = dict.fromkeys(range(count), 0.0)
        self._pauses = dict.fromkeys(range(count), _PAUSE)
        self._running: dict[int, tuple[int, float]] = {}
        self._lifeline, self._lifeline_end = os.pipe()
        self._stopping = False
        self._code = 0
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or they might be reaped by the system
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)

    def run(self) -> int:
        """Keep the workers running until a signal; the exit code, once all have ended.

        It is 1 if none of them can serve.
        """
        while self._due or self._running:
            self._begin_due()
            heard = signal.sigtimedwait(_HEARD, self._patience())
            if heard is not None and heard.si_signo in STOPPING:
                self._stop(heard.si_signo)
            self._reap()
        return self._code

    def _begin_due(self) -> None:
        for number, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[number]
                self._begin(number)

    def _begin(self, number: int) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._be(number)
        self._running[pid] = number, time.monotonic()

    def _be(self, number: int) -> None:
        """Be a worker; does not return, since what called this is the parent's to end."""
        code = 1
        try:
            os.close(self._lifeline_end)
            code = self._work(number, self._lifeline)
        except SystemExit as end:  # of uvicorn, with this very code
            code = CANNOT_START if end.code == CANNOT_START else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _patience(self) -> float:
        soonest = min(self._due.values(), default=float("inf"))
        return max(0.0, min(soonest - time.monotonic(), 3600.0))

    def _stop(self, by: int) -> None:
        """Have every worker end; a repeated Ctrl-C hurries them."""
        hurry = self._stopping and by == signal.SIGINT
        self._stopping = True
        self._end()
        self._due.clear()
        for pid in self._running:
            # A terminal has sent them its Ctrl-C already, and a second one would hurry them.
            os.kill(pid, signal.SIGINT if hurry else signal.SIGTERM)

    def _reap(self) -> None:
        for pid in list(self._running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                number, begun = self._running.pop(pid)
                if not self._stopping:
                    self._missed(number, pid, os.waitstatus_to_exitcode(status), begun)

    def _missed(self, number: int, pid: int, code: int, begun: float) -> None:
        """A worker ended that should not have."""
        if code == CANNOT_START and not self._running:
            self._code = 1
            self._stop(signal.SIGTERM)
            return
        now = time.monotonic()
        pause = _PAUSE if now - begun >= _LONG else self._pauses[number]
        self._pauses[number] = min(2 * pause, _LONGEST_PAUSE)
        self._due[number] = now + pause
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        message = f"worker {number} (process {pid}) {how}; it begins again in {pause:g} s"
        self._log({"level": "error", "message": message})
