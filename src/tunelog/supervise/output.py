"""What a command prints, passed on byte for byte, at once, and read along.

A stream of ours that is a terminal stays one for the command: it writes to a pseudo-terminal of the
same size that changes nothing. So progress bars and colours are as they would be. Any other stream
is a pipe. Where our two streams are one and the same, they are one for the command, too, and their
order stays.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time

from tunelog.supervise.tail import Tail

_CHUNK = 65536
_QUIET = 1.0
"""Seconds of silence after the command's end, when a process that it left holds the stream open."""


class Output:
    """The streams of one command."""

    def __init__(self, tail: Tail) -> None:
        """Raises `OSError` if no pipes can be had."""
        own_out = None if sys.stdout is None else 1  # a closed one's number may be another file's
        own_err = None if sys.stderr is None else 2
        out = _Channel(own_out, tail)
        self._channels = [out]
        if own_out is None or own_err is None or not os.path.sameopenfile(own_out, own_err):
            self._channels.append(_Channel(own_err, tail))
        self.stdout, self.stderr = out.given, self._channels[-1].given

    def begin(self) -> None:
        """Pass on what comes, now that the command has its ends."""
        for channel in self._channels:
            channel.begin()

    def resize(self) -> None:
        """Tell the command's terminals how large ours are now."""
        for channel in self._channels:
            channel.resize()

    def finish(self) -> None:
        """Return when everything that the command printed is passed on."""
        called = time.monotonic()
        for channel in self._channels:
            channel.finish(called)

    def abandon(self) -> None:
        """Close everything; there is no command."""
        for channel in self._channels:
            channel.abandon()


class _Channel:
    """One stream: from what the command writes to, `given`, to one of ours."""

    def __init__(self, target: int | None, tail: Tail) -> None:
        """`target` is the descriptor of ours; None passes nothing on."""
        self._target = target
        self._tail = tail
        self._is_terminal = target is not None and os.isatty(target)
        self._source, self.given = _terminal() if self._is_terminal else os.pipe()
        self._waits_since: float | None = None
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self.resize()

    def begin(self) -> None:
        os.close(self.given)
        self._thread.start()

    def abandon(self) -> None:
        os.close(self.given)
        os.close(self._source)

    def resize(self) -> None:
        if self._is_terminal and self._target is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetwinsize(self._source, termios.tcgetwinsize(self._target))

    def finish(self, called: float) -> None:
        while self._thread.is_alive():
            self._thread.join(0.05)
            waits_since = self._waits_since
            if waits_since and time.monotonic() - max(waits_since, called) > _QUIET:
                return

    def _pass_on(self) -> None:
        while data := self._read():
            self._tail.feed(self._source, data)
            if self._target is not None and not _write(self._target, data):
                break
        os.close(self._source)

    def _read(self) -> bytes:
        """What comes next; nothing at the end."""
        self._waits_since = time.monotonic()
        try:
            return os.read(self._source, _CHUNK)
        except OSError:  # how Linux says that nobody has the terminal open any more
            return b""
        finally:
            self._waits_since = None


def _terminal() -> tuple[int, int]:
    """Our end and the command's of a terminal that passes on what is written as it is."""
    ours, given = os.openpty()
    attributes = termios.tcgetattr(given)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(given, termios.TCSANOW, attributes)
    return ours, given


def _write(target: int, data: bytes) -> bool:
    """Write all of it; False if nobody reads any more, as `head` does when it has had enough.

    What cannot be written for another reason, a full disk for one, is left out: the command goes
    on as if it were written.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:
            select.select([], [target], [])
        except BrokenPipeError:
            return False
        except OSError:
            return True
    return True
