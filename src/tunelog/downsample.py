"""Which of m snapshots a resolution keeps; pure functions over ordinals and values.

The uniform rule is the one of design 2.3: all if N ≥ m, the last if N = 1, none below 1, else the
N at ordinals ``floor(i·(m-1)/(N-1))``, i = 0 … N-1.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Values = Mapping[str, int | float]
Row = tuple[int | float | None, ...]
"""The values of the watched keys; None where there is none."""


def kept(matching: int, resolution: int | None) -> int:
    """How many of `matching` snapshots a uniform `resolution` keeps; None keeps all."""
    return matching if resolution is None else min(matching, max(resolution, 0))


def uniform(matching: int, resolution: int | None) -> Iterator[int]:
    """Ordinals that a uniform `resolution` keeps, ascending, first and last among them."""
    count = kept(matching, resolution)
    if count == 1:
        return iter((matching - 1,))
    span, gaps = matching - 1, count - 1
    return (i * span // gaps for i in range(count))


def minmax(
    rows: Iterable[Values], keys: Sequence[str], matching: int, resolution: int
) -> Sequence[int]:
    """Ordinals that keep each bucket's lowest and highest value of each key, ascending.

    At most `resolution`, first and last among them. NaN is neither low nor high; an infinity is.
    The first NaN of each bucket and key is kept, too, until these are a tenth of `resolution`.
    Where there is not even room for one bucket of every key, the first keys are served.

    Args:
        rows: the values of the `matching` train snapshots, in order.
        keys: the metrics to watch, in order of importance.
        matching: how many rows there are.
        resolution: the most ordinals to return.
    """
    chosen = MinMax(keys, matching, resolution)
    if chosen.looks:
        for values in rows:
            chosen.add(values)
    return chosen.ordinals()


class Extreme(NamedTuple):
    """The lowest and the highest value of a stretch, and their ordinals in it; first of equals.

    None where there is no such value; `nan_at` is the ordinal of the first NaN.
    """

    low: int | float | None
    low_at: int | None
    high: int | float | None
    high_at: int | None
    nan_at: int | None


def extreme(values: Sequence[int | float | None]) -> Extreme:
    """That of the rows with these values of one metric."""
    numbers = [value for value in values if value is not None and value == value]
    nan_at = None
    if len(numbers) < len(values):
        nans = (i for i, value in enumerate(values) if value is not None and value != value)
        nan_at = next(nans, None)
    if not numbers:
        return Extreme(None, None, None, None, nan_at)
    low, high = min(numbers), max(numbers)
    return Extreme(low, values.index(low), high, values.index(high), nan_at)


class MinMax:
    """`minmax` for one who does not have to look at every row.

    Attributes:
        watched: the keys whose values matter.
        looks: whether values matter at all; if not, nothing need be added.
    """

    def __init__(self, keys: Sequence[str], matching: int, resolution: int) -> None:
        self._spare = resolution // 10  # of NaN
        self.watched: Sequence[str] = keys[: max(0, (resolution - self._spare - 2) // 2)]
        self.looks = resolution < matching and resolution > 3 and bool(keys)
        self._matching, self._resolution = matching, resolution
        self._width = bucket_width(matching, resolution, len(self.watched)) if self.looks else 1
        self._at = 0
        self._lows: dict[str, tuple[int | float, int]] = {}
        self._highs: dict[str, tuple[int | float, int]] = {}
        self._nans: dict[str, int] = {}
        self._picks = array("q", [0])

    @property
    def room(self) -> int:
        """How many rows are left of the bucket: the most that one stretch may have."""
        return self._width - self._at % self._width

    def add(self, values: Values) -> None:
        """Look at the next row."""
        for key in self.watched:
            value = values.get(key)
            if value is None:
                continue
            if value != value:
                self._nans.setdefault(key, self._at)
                continue
            self._compare(key, value, self._at, value, self._at)
        self._gone(1)

    def add_stretch(self, count: int, extremes: Mapping[str, Extreme]) -> None:
        """Take the next `count` rows, at most `room`, by the extremes of the watched keys."""
        for key, (low, low_at, high, high_at, nan_at) in extremes.items():
            if nan_at is not None:
                self._nans.setdefault(key, self._at + nan_at)
            if low is None or high is None or low_at is None or high_at is None:
                continue
            self._compare(key, low, self._at + low_at, high, self._at + high_at)
        self._gone(count)

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Look at the next rows, however many."""
        at = 0
        while at < len(rows):
            part = rows[at : at + self.room]
            columns = zip(self.watched, zip(*part, strict=True), strict=True)
            self.add_stretch(len(part), {key: extreme(values) for key, values in columns})
            at += len(part)

    def _compare(
        self, key: str, low: int | float, low_at: int, high: int | float, high_at: int
    ) -> None:
        if key not in self._lows or low < self._lows[key][0]:
            self._lows[key] = (low, low_at)
        if key not in self._highs or high > self._highs[key][0]:
            self._highs[key] = (high, high_at)

    def _gone(self, count: int) -> None:
        self._at += count
        if self._at % self._width == 0:
            self._pick()

    def _pick(self) -> None:
        found = {at for kept in (self._lows, self._highs) for _, at in kept.values()}
        odd = sorted(set(self._nans.values()) - found - {0, self._matching - 1})[: self._spare]
        self._spare -= len(odd)
        self._picks.extend(at for at in sorted(found.union(odd)) if 0 < at < self._matching - 1)
        self._lows, self._highs, self._nans = {}, {}, {}

    def ordinals(self) -> Sequence[int]:
        """What is kept, when every row was added."""
        if self._resolution >= self._matching:
            return range(self._matching)
        if not self.looks:
            return list(uniform(self._matching, self._resolution))
        self._pick()
        return [*self._picks, self._matching - 1]


def bucket_width(matching: int, resolution: int, keys: int) -> int:
    """Width of minmax's buckets: the least power of two with room for two rows a key and bucket.

    Beside the first row, the last, and a tenth of all for NaN.

    A power of two, counted from ordinal 0, so that a bucket once full keeps its picks while the
    history grows, until the width doubles.
    """
    room = max(1, (resolution - resolution // 10 - 2) // (2 * keys))
    width = 1
    while math.ceil(matching / width) > room:
        width *= 2
    return width
