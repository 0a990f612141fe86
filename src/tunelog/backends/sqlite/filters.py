"""Filters of a query in two forms: SQL for rows, and a test of any stretch of snapshots.

A stretch has bounds and counts: a block, a frame, or a single row. A test says whether all, none or
perhaps some of its snapshots match, so most are taken or passed over without a look inside.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from tunelog.backends.sqlite import catalog
from tunelog.backends.sqlite.frames import Counts, Place, Row
from tunelog.model import INT64_MAX, SnapshotQuery
from tunelog.wire.snapshots import keeps_every_row, matcher

Parameters = Mapping[str, int | str]


class Stretch(Protocol):
    """Snapshots that follow each other: how many of each kind, and bounds, not always attained."""

    # ruff: disable[D102] said above, for all of them
    @property
    def train(self) -> int: ...
    @property
    def eval(self) -> int: ...
    @property
    def logged_at_from(self) -> int: ...
    @property
    def logged_at_max(self) -> int: ...
    @property
    def step_min(self) -> int: ...
    @property
    def step_max(self) -> int: ...
    @property
    def attempt_min(self) -> int: ...
    @property
    def attempt_max(self) -> int: ...
    @property
    def arrival_min(self) -> int: ...
    @property
    def arrival_max(self) -> int: ...
    # ruff: enable[D102]
    @property
    def shapes(self) -> Mapping[int, Counts] | None:
        """How many have each set of keys; None if that is not known."""
        ...


class Filter(NamedTuple):
    """One filter.

    Attributes:
        sql: the condition on a row, with named parameters.
        parameters: theirs.
        test: whether all of a stretch match (True), none (False), or that is not known (None).
    """

    sql: str
    parameters: Parameters
    test: Callable[[Stretch], bool | None]


class Condition(NamedTuple):
    """Every filter of a query against one job as it stood at one moment."""

    filters: Sequence[Filter]
    shapes: Set[int] | None

    @property
    def sql(self) -> str:
        """For `WHERE`."""
        terms = ["TRUE", *(each.sql for each in self.filters)]
        if self.shapes is not None:
            # One parameter, however many: a job may have as many key sets as snapshots.
            terms.append("shape IN (SELECT value FROM json_each(:shapes))")
        return " AND ".join(terms)

    @property
    def parameters(self) -> Parameters:
        """Those of `sql`."""
        found: dict[str, int | str] = {}
        for each in self.filters:
            found.update(each.parameters)
        if self.shapes is not None:
            found["shapes"] = json.dumps(list(self.shapes))
        return found

    def within(self, low: int, high: int) -> Condition:
        """The same, for what was logged between `low` and `high`, bounds included."""
        return Condition([*self.filters, *_times(low, high)], self.shapes)

    def until(self, arrival: int) -> Condition:
        """The same, for what had arrived by then."""
        return Condition([*self.filters, _at_most("arrivals", "arrival", arrival)], self.shapes)

    def after(self, place: Place) -> Condition:
        """The same, for what is read after `place`."""
        return Condition([*self.filters, _after(place)], self.shapes)

    def of_keys(self) -> Condition:
        """The same of what lies within every filter but that of keys."""
        return Condition((), self.shapes)

    def inside(self, stretch: Stretch) -> bool:
        """Whether a stretch lies within every filter but that of keys."""
        return all(each.test(stretch) for each in self.filters)

    def matching(self, stretch: Stretch) -> Counts | None:
        """How many of a stretch match; None if one has to look inside."""
        if not self.filters and self.shapes is None:
            return stretch.train, stretch.eval
        whole: bool | None = True
        for each in self.filters:
            found = each.test(stretch)
            if found is False:
                return 0, 0
            whole = whole and found
        if self.shapes is None:
            return (stretch.train, stretch.eval) if whole else None
        if stretch.shapes is None:
            return None
        if whole and stretch.shapes.keys() <= self.shapes:
            return stretch.train, stretch.eval
        counts = [found for shape, found in stretch.shapes.items() if shape in self.shapes]
        train, evals = sum(train for train, _ in counts), sum(evals for _, evals in counts)
        return (train, evals) if whole or train + evals == 0 else None

    def all(self, stretch: Stretch) -> bool:
        """Whether all of it match, so far as can be told without a look inside."""
        return self.matching(stretch) == (stretch.train, stretch.eval)


def condition(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery
) -> Condition:
    """What a query asks of the job's snapshots, whenever they arrived."""
    found: list[Filter] = []
    if after := entry.job.arrival(query.after):
        found.append(_at_least("after", "arrival", min(after, INT64_MAX - 1) + 1))
    if query.global_step_from is not None:
        found.append(_at_least("step_from", "step", query.global_step_from))
    if query.global_step_to is not None:
        found.append(_at_most("step_to", "step", query.global_step_to))
    if query.logged_at_from is not None or query.logged_at_to is not None:
        high = INT64_MAX if query.logged_at_to is None else query.logged_at_to
        found += _times(query.logged_at_from or 0, high)
    if isinstance(query.attempt, int):
        found.append(_attempt(query.attempt))
    if query.attempt is None and (cutoffs := _cutoffs(connection, entry.no)):
        found.append(_effective(cutoffs))
    return Condition(found, _shapes(connection, entry.no, query))


_ROW = {"arrival": "arrival", "step": "global_step"}
_ENDS: Mapping[str, Callable[[Stretch], tuple[int, int]]] = {
    "arrival": lambda stretch: (stretch.arrival_min, stretch.arrival_max),
    "step": lambda stretch: (stretch.step_min, stretch.step_max),
}


def _at_least(name: str, what: str, bound: int) -> Filter:
    ends = _ENDS[what]

    def test(stretch: Stretch) -> bool | None:
        low, high = ends(stretch)
        return True if low >= bound else None if high >= bound else False

    return Filter(f"{_ROW[what]} >= :{name}", {name: bound}, test)


def _at_most(name: str, what: str, bound: int) -> Filter:
    ends = _ENDS[what]

    def test(stretch: Stretch) -> bool | None:
        low, high = ends(stretch)
        return True if high <= bound else None if low <= bound else False

    return Filter(f"{_ROW[what]} <= :{name}", {name: bound}, test)


def _times(low: int, high: int) -> list[Filter]:
    def test(stretch: Stretch) -> bool | None:
        first, last = stretch.logged_at_from, stretch.logged_at_max
        if low <= first and last <= high:
            return True
        return None if first <= high and last >= low else False

    return [Filter("logged_at BETWEEN :low AND :high", {"low": low, "high": high}, test)]


def _after(place: Place) -> Filter:
    names = ("at", "attempt_at", "writer_at", "seq_at")

    def test(stretch: Stretch) -> bool | None:
        if isinstance(stretch, Row):
            return stretch.place > place
        return True if stretch.logged_at_from > place[0] else None

    sql = f"(logged_at, attempt, writer, seq) > ({', '.join(':' + name for name in names)})"
    return Filter(sql, dict(zip(names, place, strict=True)), test)


def _attempt(number: int) -> Filter:
    def test(stretch: Stretch) -> bool | None:
        if stretch.attempt_min == stretch.attempt_max:
            return stretch.attempt_min == number
        return None if stretch.attempt_min <= number <= stretch.attempt_max else False

    return Filter("attempt = :attempt", {"attempt": number}, test)


def _effective(cutoffs: Sequence[tuple[int, int]]) -> Filter:
    """What is not superseded."""
    parameters: dict[str, int] = {}
    cases = []
    for i, (attempt, step) in enumerate(cutoffs):
        parameters |= {f"superseded{i}": attempt, f"cutoff{i}": step}
        cases.append(f"WHEN attempt <= :superseded{i} THEN :cutoff{i}")
    last = len(cutoffs) - 1
    sql = f"(attempt > :superseded{last} OR global_step < CASE {' '.join(cases)} END)"

    def counts(attempt: int, step: int) -> bool:
        return all(attempt > superseded or step < cutoff for superseded, cutoff in cutoffs)

    def test(stretch: Stretch) -> bool | None:
        if counts(stretch.attempt_min, stretch.step_max):
            return True
        return None if counts(stretch.attempt_max, stretch.step_min) else False

    return Filter(sql, parameters, test)


def _cutoffs(connection: sqlite3.Connection, job: int) -> list[tuple[int, int]]:
    """For runs of attempts with one cutoff, the last of them and the cutoff; both ascend."""
    first_steps = connection.execute(
        "SELECT attempt, first_step FROM attempt"
        " WHERE job = ? AND attempt > 1 AND first_step IS NOT NULL ORDER BY attempt DESC",
        (job,),
    )
    cutoffs: list[tuple[int, int]] = []
    for attempt, step in first_steps:
        if not cutoffs or step < cutoffs[-1][1]:
            cutoffs.append((attempt - 1, step))
    return cutoffs[::-1]


def _shapes(connection: sqlite3.Connection, job: int, query: SnapshotQuery) -> Set[int] | None:
    """The key sets that a row may have; None for any."""
    if not query.keys or keeps_every_row(query.keys):
        return None
    wanted = matcher(query.keys)
    shapes = connection.execute("SELECT shape, keys FROM shape WHERE job = ?", (job,)).fetchall()
    matching = frozenset(shape for shape, keys in shapes if any(map(wanted, json.loads(keys))))
    return None if len(matching) == len(shapes) else matching
