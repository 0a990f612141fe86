"""What could not be recorded: counted, and each said once. Nothing here raises or waits."""

from __future__ import annotations

import contextlib
import sys

_MOST_SAID = 20
_MOST_COUNTED = 1_000
_NO_DIGITS = str.maketrans("", "", "0123456789")


def say(words: str) -> None:
    """A line on stderr, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody listens
            sys.stderr.write(f"tunelog: {words}\n")


class Losses:
    """Counts what could not be kept, by subject and reason."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._said: set[tuple[str, str]] = set()
        self.total = 0

    def count(self, subject: str, reason: str) -> bool:
        """Count a loss, and say it if it is the first of its kind. Answers whether it was said.

        Reasons that differ in numbers only are of one kind.
        """
        self.total += 1
        what = subject[:100], reason.translate(_NO_DIGITS)
        if what in self._counts or len(self._counts) < _MOST_COUNTED:
            self._counts[what] = self._counts.get(what, 0) + 1
        if what in self._said or len(self._said) > _MOST_SAID:
            return False
        self._said.add(what)
        if len(self._said) > _MOST_SAID:
            say("more could not be recorded; from here on it is only counted")
            return False
        say(f"{what[0]!r} was not recorded: {reason}. Said once; repeats are counted.")
        return True

    def summary(self) -> str:
        """The counts in words, the most frequent first."""
        ranked = sorted(self._counts.items(), key=lambda item: -item[1])
        shown = [f"{subject!r} {count} × ({why})" for (subject, why), count in ranked[:10]]
        rest = self.total - sum(count for _, count in ranked[:10])
        if rest > 0:
            shown.append(f"others {rest} ×")
        return f"{self.total} could not be recorded: " + "; ".join(shown)
