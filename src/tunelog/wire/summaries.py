"""Summaries: what the values of a series amount to, one snapshot at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tunelog.model import Kind, MetricSummary, Point, SnapshotQuery, Summary
from tunelog.wire.snapshots import matcher


class _Series:
    """A series summed up so far."""

    __slots__ = ("count", "first", "first_nonfinite_step", "last", "max", "min", "nonfinite")

    def __init__(self) -> None:
        self.count = 0
        self.nonfinite = 0
        self.first_nonfinite_step: int | None = None
        self.first: Point | None = None
        self.last: Point | None = None
        self.min: Point | None = None
        self.max: Point | None = None

    def add(self, step: int, value: int | float) -> None:
        self.count += 1
        if not math.isfinite(value):
            self.nonfinite += 1
            if self.first_nonfinite_step is None:
                self.first_nonfinite_step = step
            return
        self.last = Point(value, step)
        if self.first is None or self.min is None or self.max is None:
            self.first = self.min = self.max = self.last
        elif value < self.min.value:
            self.min = self.last
        elif value > self.max.value:
            self.max = self.last

    def summary(self) -> MetricSummary:
        return MetricSummary(**{name: getattr(self, name) for name in self.__slots__})


class Summarizer:
    """Sums up snapshots that come in chronological order."""

    def __init__(self, query: SnapshotQuery, names: Sequence[str]) -> None:
        """`names` gives the order of the metrics; `query.keys` chooses among them."""
        self._counts: dict[Kind, int] = {"train": 0, "eval": 0}
        self._names = names
        self._series: dict[str, _Series] = {}
        self._wanted = matcher(query.keys) if query.keys else None

    def add(self, kind: Kind, step: int, values: Mapping[str, int | float]) -> None:
        """Take in the next snapshot."""
        self._counts[kind] += 1
        for name, value in values.items():
            series = self._series.get(name)
            if series is None:
                if self._wanted is not None and not self._wanted(name):
                    continue
                series = self._series[name] = _Series()
            series.add(step, value)

    def summary(self) -> Summary:
        """What was taken in so far."""
        found = self._series
        return Summary(
            self._counts, {name: found[name].summary() for name in self._names if name in found}
        )
