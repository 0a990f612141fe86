"""Values of some metrics of matching snapshots, which the engine takes out of their lines.

That is a tenth of what the lines are, and need not be taken apart here.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from tunelog.backends.clickhouse.node import quote
from tunelog.backends.clickhouse.planning import Moment, gone_or_changed
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.streaming import begin
from tunelog.downsample import Extreme
from tunelog.wire.snapshots import NONFINITE

MOST_KEYS: Final = 8
"""Of more metrics, the lines are taken apart here: each is a search through the line."""

Value = int | float | None


class Series(NamedTuple):
    """Values of one metric in consecutive snapshots.

    Attributes:
        values: None where a snapshot has none.
        plain: whether all of them are finite numbers.
    """

    values: list[Value]
    plain: bool

    def extreme(self, start: int, end: int) -> Extreme:
        """The extremes from one place to before another."""
        if not self.plain:
            return _extreme(self.values[start:end])
        values: list[int | float] = self.values[start:end]  # type: ignore[assignment]
        low, high = min(values), max(values)
        return Extreme(low, values.index(low), high, values.index(high), None)


def _extreme(values: Sequence[Value]) -> Extreme:
    numbers = [(value, at) for at, value in enumerate(values) if value is not None]
    nan_at = next((at for value, at in numbers if value != value), None)
    numbers = [(value, at) for value, at in numbers if value == value]
    if not numbers:
        return Extreme(None, None, None, None, nan_at)
    low, low_at = min(numbers)
    high, high_at = max(numbers, key=lambda number: (number[0], -number[1]))
    return Extreme(low, low_at, high, high_at, nan_at)


def can_be_extracted(names: Sequence[str]) -> bool:
    """Whether the engine finds these metrics: it looks for names as they are, without escapes."""
    plain = all(msgspec.json.encode(name) == b'"%s"' % name.encode() for name in names)
    return plain and len(names) <= MOST_KEYS


def extract(
    shard: Shard,
    moment: Moment,
    names: Sequence[str],
    expected: int,
    *terms: str,
    beside: Sequence[str] = (),
) -> Generator[list[Series]]:
    """The values of metrics in the matching snapshots that fulfil some terms, some at a time.

    Before them come those of the columns `beside`.
    """
    columns = list(beside)
    for at, name in enumerate(names):
        value = f"visitParamExtractRaw(if(empty(exact), line, exact), {quote(name)}) AS value{at}"
        columns.append(f"if(empty({value}), 'null', value{at})")
    sql = moment.select(", ".join(columns), *terms)
    short = partial(gone_or_changed, shard, moment.condition)
    return begin(shard, moment.node, sql, expected, short, partial(_series, len(columns)))


def _series(width: int, lines: bytes) -> list[Series]:
    texts = lines.replace(b"\n", b"\t").split(b"\t") if lines else []
    return [_decoded(texts[column::width]) for column in range(width)]


def _decoded(texts: list[bytes]) -> Series:
    text = b"[" + b",".join(texts) + b"]"
    values = msgspec.json.decode(text)
    if b'"' in text:
        values = [NONFINITE[each] if isinstance(each, str) else each for each in values]
        return Series(values, plain=False)
    return Series(values, plain=b"n" not in text)
