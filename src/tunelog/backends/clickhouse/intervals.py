"""Sets of whole numbers that mostly follow one another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Intervals:
    """Numbers, kept as stretches without a gap."""

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    @property
    def last(self) -> int | None:
        """The greatest of the numbers."""
        return self._highs[-1] if self._highs else None

    def missing(self, low: int, high: int) -> list[int]:
        """Which of `low` … `high` are not among the numbers."""
        at = bisect_left(self._highs, low)
        found: list[int] = []
        while low <= high:
            if at == len(self._lows) or self._lows[at] > high:
                found.extend(range(low, high + 1))
                break
            found.extend(range(low, self._lows[at]))
            low = self._highs[at] + 1
            at += 1
        return found

    def add(self, low: int, high: int) -> None:
        """Take in `low` … `high`."""
        first = bisect_left(self._highs, low - 1)  # the first that touches or lies after
        end = bisect_right(self._lows, high + 1)
        if first < end:
            low, high = min(low, self._lows[first]), max(high, self._highs[end - 1])
        self._lows[first:end] = [low]
        self._highs[first:end] = [high]

    def add_sorted(self, numbers: Iterable[int]) -> None:
        """Take in numbers that ascend."""
        start = end = None
        for number in numbers:
            if end is not None and start is not None and number != end + 1:
                self.add(start, end)
                start = number
            end = number
            start = number if start is None else start
        if start is not None and end is not None:
            self.add(start, end)
