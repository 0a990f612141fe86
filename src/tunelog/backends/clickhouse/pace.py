"""How close together rounds of writing follow one another."""

from __future__ import annotations

from typing import Final

LEAST: Final = 0.1
"""While many write, so many seconds lie between the beginnings of two rounds: what a round costs
the servers hardly depends on how much is in it."""

MOST: Final = 1.0
"""Servers that are slow are left alone for as long as rounds take of late, but rounds are never
farther apart than this: those that follow at once take ever longer, and cost more than they bring.
"""

OF_LATE: Final = 0.2
"""How much a round counts in that: whoever waited for a single slow one has waited enough."""


class Pace:
    """When the next round is to begin, by how long those before it took."""

    def __init__(self) -> None:
        self._usual = 0.0

    def after(self, seconds: float) -> float:
        """How long after its beginning a round that took so many seconds is followed by the next.

        One that took very long, because a server died in it, says little of the next.
        """
        self._usual += (min(seconds, MOST / 2) - self._usual) * OF_LATE
        return max(LEAST, 2 * self._usual)
