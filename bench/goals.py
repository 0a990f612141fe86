"""What a figure should be: by itself, or beside a yardstick of the same run."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

PEERS = "the fastest peer"
"""Stands for whichever peer's yardstick is best."""


class Goal(Struct, frozen=True):
    """What a figure's median should be: at most, or at least, so much.

    Attributes:
        sign: at most or at least.
        value: in the figure's unit, or so many times the yardstick.
        beside: the yardstick's name; empty if the goal is for the figure alone.
    """

    sign: Literal["≤", "≥"]
    value: float
    beside: str = ""

    def met(self, value: float) -> bool:
        """Whether a value is as good."""
        return value <= self.value if self.sign == "≤" else value >= self.value

    def lacks(self, value: float) -> float:
        """How many times better a value would have to be; 1 or less if the goal is met."""
        better = (value, self.value) if self.sign == "≤" else (self.value, value)
        return better[0] / better[1]


class Verdict(Struct, frozen=True):
    """What was seen of a goal; None if there is nothing to hold it to, such as no peer."""

    goal: Goal
    seen: float | None

    @property
    def word(self) -> str:
        """`met`, `missed` or `not known`."""
        if self.seen is None:
            return "not known"
        return "met" if self.goal.met(self.seen) else "missed"

    @property
    def margin(self) -> str:
        """By how much, in words; empty if it is not known."""
        if self.seen is None:
            return ""
        lacks = self.goal.lacks(self.seen)
        if lacks >= 2:
            return f"by a factor of {lacks:.1f}"
        return f"by {lacks - 1:.0%}" if lacks > 1 else f"{1 / lacks:.1f} times as good"
