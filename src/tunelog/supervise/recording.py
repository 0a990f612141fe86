"""A command's run in its job's events: what it prints, and how it ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from tunelog.recorder import Recorder
from tunelog.recorder.handover import is_entered, look_after, offer, withdraw
from tunelog.recorder.losses import say
from tunelog.supervise.command import Command, Ended
from tunelog.supervise.tail import Tail

NOT_EXECUTABLE, NOT_FOUND = 126, 127

_ENTER_SECONDS = 3.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0

Status = Literal["completed", "error", "cancelled"]


def record(
    recorder: Recorder,
    words: Sequence[str],
    variables: Mapping[str, str],
    *,
    stated: Collection[str] = (),
    grace: float = 30.0,
    lines: int = 20,
) -> tuple[int, Status | None]:
    """Run a command, record it, and answer its exit code and what became of its job.

    Args:
        recorder: the job's, at its begin; it is finished here.
        words: the command.
        variables: what its environment has beside ours.
        stated: names of the job's details that the command's own recorder must not change.
        grace: seconds from SIGTERM to SIGKILL when the job is cancelled.
        lines: how many of the last lines that it printed an event holds.
    """
    environment = {**os.environ, **variables, **offer(recorder, stated)}
    recorder.update(status="running")
    _wait_until_entered(recorder)
    tail = Tail(lines)
    telling = _Telling(recorder, tail)
    try:
        command = Command(words, environment, tail)
        ended = command.run(lambda: recorder.should_stop, telling.tick, grace)
    except (OSError, ValueError) as error:
        code, reason = _not_started(error)
        withdraw(recorder)
        say(f"{words[0]}: {reason}")
        recorder.event(
            f"{words[0]} could not be started: {reason}", type="job_error", level="error"
        )
        _finish(recorder, "error")
        return code, "error"
    withdraw(recorder)
    status = _status(ended)
    _tell_end(recorder, os.path.basename(words[0]), ended, status, tail)
    _finish(recorder, status)
    return ended.code, status


class _Telling:
    """Tells what a command prints: soon at the beginning, then at most once a minute."""

    def __init__(self, recorder: Recorder, tail: Tail) -> None:
        self._recorder = recorder
        self._tail = tail
        self._pause = _FIRST_PAUSE
        self._next = time.monotonic() + self._pause

    def tick(self) -> None:
        """Tell if it is time to, and there is something new."""
        look_after(self._recorder)
        if time.monotonic() < self._next:
            return
        if words := self._tail.fresh():
            self._recorder.event(words, type="output")
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._next = time.monotonic() + self._pause


def _tell_end(
    recorder: Recorder, name: str, ended: Ended, status: Status | None, tail: Tail
) -> None:
    if status == "completed":
        if words := tail.fresh():
            recorder.event(words, type="output")
        return
    asked = ""
    if ended.cancelled:
        asked = " after the job was cancelled"
    elif ended.asked_by:
        asked = f" after {signal.Signals(ended.asked_by).name} was passed on"
    left = ": the job is left to its next attempt" if status is None else ""
    words = f"{name} {ended.words}{asked}{left}."
    if last := tail.last():
        words += f"\n{last}"
    if status == "error":
        recorder.event(words, type="job_error", level="error")
    else:
        recorder.event(words, type="warning", level="warning")


def _status(ended: Ended) -> Status | None:
    """What becomes of the job. None leaves it to its next attempt.

    An exit code of 0 after SIGTERM is not taken for success: a training that is asked to make room
    saves its state and exits so.
    """
    if ended.cancelled or ended.asked_by == signal.SIGINT:
        return "cancelled"
    if ended.code:
        return "error"
    return None if ended.asked_by else "completed"


def _wait_until_entered(recorder: Recorder) -> None:
    """Let the service know the job before the command may ask it, but do not wait for long."""
    deadline = time.monotonic() + _ENTER_SECONDS
    while not is_entered(recorder) and time.monotonic() < deadline:
        time.sleep(0.02)


def _finish(recorder: Recorder, status: Status | None) -> None:
    try:
        recorder.finish(status)
    except KeyboardInterrupt:
        say("not waiting any longer; what is left is sent in the background")


def _not_started(error: OSError | ValueError) -> tuple[int, str]:
    """A shell's exit code for a command that could not be started, and the reason."""
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND, "no such command"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return NOT_EXECUTABLE, f"{reason or error}".lower()
