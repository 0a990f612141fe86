"""How close together blocks follow one another."""

from __future__ import annotations

from typing import Final

LEAST: Final = 0.1
"""While many write, so many seconds lie between the beginnings of two blocks: what a block costs
the servers hardly depends on how much is in it."""

TIMES: Final = 3
"""Blocks lie so many times as far apart as they take of late, so that slow servers are left alone
for two thirds of the time: those that follow at once take ever longer, and cost more than they
bring."""

MOST: Final = 1.0
"""They are never farther apart than this."""

OF_LATE: Final = 0.2
"""How much a block counts in that: whoever waited for a single slow one has waited enough."""


class Pace:
    """When the next block is to begin, by how long those before it took."""

    def __init__(self) -> None:
        self._usual = 0.0

    def after(self, seconds: float) -> float:
        """How long after its beginning a block that took so many seconds is followed by the next.

        One that took very long, because a server died meanwhile, says little of the next.
        """
        self._usual += (min(seconds, MOST / TIMES) - self._usual) * OF_LATE
        return max(LEAST, TIMES * self._usual)
