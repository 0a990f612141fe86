"""Summaries: what the values of a series amount to, snapshot by snapshot or stretch by stretch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from tunelog.model import Kind, MetricSummary, Point, SnapshotQuery, Summary
from tunelog.wire.snapshots import matcher


def summed(steps: Sequence[int], values: Sequence[int | float]) -> MetricSummary:
    """What a series amounts to, given in chronological order."""
    places: Sequence[int] = range(len(values))
    if not math.isfinite(sum(values)):  # that of finite values may overflow, too
        places = [i for i in places if math.isfinite(values[i])]
    missing = len(values) - len(places)
    finite = [values[i] for i in places] if missing else values

    bad = _first_nonfinite(steps, values) if missing else None
    if not finite:
        return MetricSummary(count=missing, nonfinite=missing, first_nonfinite_step=bad)

    def point(at: int) -> Point:
        return Point(finite[at], steps[places[at]])

    return MetricSummary(
        count=len(values),
        first=point(0),
        last=point(-1),
        min=point(finite.index(min(finite))),
        max=point(finite.index(max(finite))),
        nonfinite=missing,
        first_nonfinite_step=bad,
    )


def _first_nonfinite(steps: Sequence[int], values: Sequence[int | float]) -> int:
    return next(s for s, value in zip(steps, values, strict=True) if not math.isfinite(value))


def merged(one: MetricSummary, then: MetricSummary) -> MetricSummary:
    """What two stretches of a series amount to, the second after the first."""
    low, high = one.min or then.min, one.max or then.max
    if low is not None and then.min is not None and then.min.value < low.value:
        low = then.min
    if high is not None and then.max is not None and then.max.value > high.value:
        high = then.max
    first_bad = one.first_nonfinite_step
    return MetricSummary(
        count=one.count + then.count,
        first=one.first or then.first,
        last=then.last or one.last,
        min=low,
        max=high,
        nonfinite=one.nonfinite + then.nonfinite,
        first_nonfinite_step=then.first_nonfinite_step if first_bad is None else first_bad,
    )


class Summarizer:
    """Sums up snapshots that come in chronological order."""

    def __init__(self, query: SnapshotQuery, names: Sequence[str]) -> None:
        """`names` gives the order of the metrics; `query.keys` chooses among them."""
        self._counts: dict[Kind, int] = {"train": 0, "eval": 0}
        self._names = names
        self._series: dict[str, MetricSummary] = {}
        self._wanted = matcher(query.keys) if query.keys else None

    def add(self, snapshots: Iterable[tuple[Kind, int, Mapping[str, int | float]]]) -> None:
        """Take in the next snapshots: kind, step and values of each."""
        found: dict[str, tuple[list[int], list[int | float]]] = {}
        for kind, step, values in snapshots:
            self._counts[kind] += 1
            for name, value in values.items():
                steps, numbers = found.setdefault(name, ([], []))
                steps.append(step)
                numbers.append(value)
        self._merge({name: summed(*series) for name, series in found.items()})

    def add_stretch(self, train: int, evals: int, metrics: Mapping[str, MetricSummary]) -> None:
        """Take in the next snapshots, so many of each kind, which were summed up before."""
        self._counts["train"] += train
        self._counts["eval"] += evals
        self._merge(metrics)

    def _merge(self, metrics: Mapping[str, MetricSummary]) -> None:
        for name, then in metrics.items():
            before = self._series.get(name)
            if before is not None:
                self._series[name] = merged(before, then)
            elif self._wanted is None or self._wanted(name):
                self._series[name] = then

    def summary(self) -> Summary:
        """What was taken in so far."""
        found = self._series
        return Summary(self._counts, {name: found[name] for name in self._names if name in found})
