"""Each metric's lowest and highest value frame by frame: what `minmax` looks at first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from msgspec import Struct, field

from tunelog import downsample

Item = TypeVar("Item")


class Extremes(Struct, array_like=True):
    """One metric's lowest and highest value in each frame, and where; and its first NaN.

    Of train snapshots; NaN is neither low nor high. A place is the ordinal among the frame's train
    snapshots. Where a frame has no such value stands None, after the last that has one nothing.
    """

    lows: list[int | float | None] = field(default_factory=list)
    low_at: list[int | None] = field(default_factory=list)
    highs: list[int | float | None] = field(default_factory=list)
    high_at: list[int | None] = field(default_factory=list)
    nan_at: list[int | None] = field(default_factory=list)

    def over(self, frames: range, begins: Sequence[int]) -> downsample.Extreme:
        """Those of frames that follow each other.

        Args:
            frames: which, at least one.
            begins: of each frame of the segment, how many train snapshots are before it.
        """
        low = _most(min, self.lows, frames)
        high = _most(max, self.highs, frames)
        nan = next((i for i in frames if i < len(self.nan_at) and self.nan_at[i] is not None), None)

        def place(frame: int | None, places: Sequence[int | None]) -> int | None:
            at = None if frame is None else places[frame]
            return None if frame is None or at is None else begins[frame] - begins[frames[0]] + at

        return downsample.Extreme(
            None if low is None else self.lows[low],
            place(low, self.low_at),
            None if high is None else self.highs[high],
            place(high, self.high_at),
            place(nan, self.nan_at),
        )


def _most(
    choose: Callable[[Iterable[int | float]], int | float],
    values: Sequence[int | float | None],
    frames: range,
) -> int | None:
    """The first of these frames with the lowest or highest value; None if none has any."""
    found = values[frames.start : frames.stop]
    present = [value for value in found if value is not None]
    return frames.start + found.index(choose(present)) if present else None


def add_extremes(
    extremes: dict[str, Extremes],
    frame: int,
    trained: Sequence[bool],
    series: Mapping[str, tuple[Sequence[int], Sequence[int | float]]],
) -> None:
    """Note what a frame's series have.

    Args:
        extremes: those of the frames before, by metric.
        frame: its number.
        trained: of each row, whether it is a train snapshot.
        series: of each metric its values, and the places of the rows that have them.
    """
    ordinals = list(accumulate(trained, initial=0))
    for name, (places, values) in series.items():
        at: Sequence[int] = places
        if ordinals[-1] < len(trained) or not math.isfinite(sum(values)):
            train = [i for i, place in enumerate(places) if trained[place]]
            odd = [i for i in train if values[i] != values[i]]
            if odd:
                _set(extremes.setdefault(name, Extremes()).nan_at, frame, ordinals[places[odd[0]]])
            train = [i for i in train if values[i] == values[i]]
            values, at = [values[i] for i in train], [ordinals[places[i]] for i in train]
        if values:
            low, high = min(values), max(values)
            one = extremes.setdefault(name, Extremes())
            _set(one.lows, frame, low)
            _set(one.low_at, frame, at[values.index(low)])
            _set(one.highs, frame, high)
            _set(one.high_at, frame, at[values.index(high)])


def _set(column: list[Item | None], frame: int, value: Item) -> None:
    """Put a value at the end of a column that has none for the frames since its last."""
    column.extend([None] * (frame - len(column)))
    column.append(value)
