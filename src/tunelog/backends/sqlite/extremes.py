"""Each metric's lowest and highest value frame by frame: what `minmax` looks at first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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

    def of(self, frame: int) -> downsample.Extreme:
        """One frame's."""
        nan_at = self.nan_at[frame] if frame < len(self.nan_at) else None
        if frame >= len(self.lows):
            return downsample.Extreme(None, None, None, None, nan_at)
        return downsample.Extreme(
            self.lows[frame],
            self.low_at[frame],
            self.highs[frame],
            self.high_at[frame],
            nan_at,
        )


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
