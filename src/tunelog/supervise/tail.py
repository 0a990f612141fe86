"""The last lines that a command printed, as words for an event."""

from __future__ import annotations

import re
import threading
from collections import deque

_MOST_BYTES = 8192
_MOST_CHARACTERS = 300
_MOST_TOTAL = 6000

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|[ -/]+[0-~]|[0-Z\\^-~]|$)"
)


class Tail:
    """Takes what is printed, piece by piece and from any thread, and keeps the last lines.

    A line that a progress bar writes again and again counts as its last state. What a terminal
    takes for orders is left out, and so are empty lines.
    """

    def __init__(self, lines: int) -> None:
        """`lines` are kept."""
        self._lines: deque[bytes] = deque(maxlen=max(0, lines))
        self._new = 0
        self._unfinished: dict[int, bytes] = {}
        self._told: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def feed(self, stream: int, data: bytes) -> None:
        """Take what was printed on one of several streams, told apart by number."""
        with self._lock:
            *whole, rest = (self._unfinished.get(stream, b"") + data).split(b"\n")
            self._unfinished[stream] = rest[-_MOST_BYTES:]
            for line in whole[-(self._lines.maxlen or 1) :]:
                if line.strip():
                    self._lines.append(line[-_MOST_BYTES:])
                    self._new += 1
            if whole:
                self._told.pop(stream, None)

    def fresh(self) -> str:
        """The last lines among those that were not asked for before."""
        with self._lock:
            lines = list(self._lines)[-self._new :] if self._new else []
            self._new = 0
            rests = [r for s, r in self._unfinished.items() if r != self._told.get(s, b"")]
            self._told = dict(self._unfinished)
            return self._words([*lines, *rests])

    def last(self) -> str:
        """The last lines."""
        with self._lock:
            return self._words([*self._lines, *self._unfinished.values()])

    def _words(self, lines: list[bytes]) -> str:
        cleaned = [words for line in lines if (words := _clean(line))]
        kept = cleaned[-(self._lines.maxlen or 0) :] if self._lines.maxlen else []
        while sum(map(len, kept)) > _MOST_TOTAL:
            del kept[0]
        return "\n".join(kept)


def _clean(line: bytes) -> str:
    """A line as a terminal would show it at the end."""
    text = _ESCAPES.sub("", line.decode("utf-8", "replace"))
    states = [state for state in text.split("\r") if state.strip()]
    shown = (states[-1] if states else "").replace("\t", " ")
    shown = "".join(c for c in shown if c.isprintable()).rstrip()
    return shown if len(shown) <= _MOST_CHARACTERS else shown[: _MOST_CHARACTERS - 1] + "…"
