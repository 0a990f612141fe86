"""Which of m snapshots a resolution keeps; pure functions over ordinals and values.

The uniform rule is the one of design 2.3: all if N ≥ m, the last if N = 1, none below 1, else the
N at ordinals ``floor(i·(m-1)/(N-1))``, i = 0 … N-1.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

Values = Mapping[str, int | float]


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
    Where there is not even room for one bucket of every key, the first keys are served.

    Args:
        rows: the values of the `matching` train snapshots, in order.
        keys: the metrics to watch, in order of importance.
        matching: how many rows there are.
        resolution: the most ordinals to return.
    """
    if resolution >= matching:
        return range(matching)
    if resolution <= 3 or not keys:
        return list(uniform(matching, resolution))
    watched = keys[: (resolution - 2) // 2]
    width = bucket_width(matching, resolution, len(watched))
    picks = array("q", [0])
    for extremes in _extremes(rows, watched, width):
        picks.extend(o for o in extremes if picks[-1] < o < matching - 1)
    picks.append(matching - 1)
    return picks


def bucket_width(matching: int, resolution: int, keys: int) -> int:
    """Width of minmax's buckets: the least power of two with room for two rows a key and bucket.

    A power of two, counted from ordinal 0, so that a bucket once full keeps its picks while the
    history grows, until the width doubles.
    """
    room = max(1, (resolution - 2) // (2 * keys))
    width = 1
    while math.ceil(matching / width) > room:
        width *= 2
    return width


def _extremes(rows: Iterable[Values], keys: Sequence[str], width: int) -> Iterator[list[int]]:
    """The ordinals of every key's lowest and highest value, bucket by bucket, ascending."""
    lows: dict[str, tuple[int | float, int]] = {}
    highs: dict[str, tuple[int | float, int]] = {}
    for ordinal, values in enumerate(rows):
        if ordinal % width == 0:
            yield _ordinals(lows, highs)
            lows, highs = {}, {}
        for key in keys:
            value = values.get(key)
            if value is None or value != value:
                continue
            if key not in lows or value < lows[key][0]:
                lows[key] = (value, ordinal)
            if key not in highs or value > highs[key][0]:
                highs[key] = (value, ordinal)
    yield _ordinals(lows, highs)


def _ordinals(*found: Mapping[str, tuple[int | float, int]]) -> list[int]:
    return sorted({ordinal for extremes in found for _, ordinal in extremes.values()})
