"""What a read will look at: a condition on rows, and the stretches that hold matching ones.

Blocks answer most of a query without a look at rows: a block lies wholly inside the filters, wholly
outside, or across a bound; only the last kind is counted row by row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tunelog import downsample
from tunelog.backends.sqlite import catalog
from tunelog.model import INT64_MAX, Column, SnapshotQuery
from tunelog.wire.snapshots import keeps_every_row, matcher

Parameters = Mapping[str, int | str]


class Condition(NamedTuple):
    """SQL for `WHERE`, and its named parameters."""

    sql: str
    parameters: Parameters


class Filter(NamedTuple):
    """One filter as three conditions: on a row, and on a block of which some or all rows match."""

    row: str
    some: str
    all: str
    parameters: Parameters


class Span(NamedTuple):
    """A stretch of time, bounds included, and how many snapshots in it match.

    `bytes` is what their lines have at most.
    """

    low: int
    high: int
    train: int
    eval: int
    bytes: int


class Plan(NamedTuple):
    """A query against one job as it stood at one moment, and how many snapshots match it."""

    job: int
    query: SnapshotQuery
    condition: Condition
    spans: Sequence[Span]
    columns: Sequence[Column]
    cursor: str
    train: int
    eval: int

    @property
    def sampled(self) -> bool:
        """Whether the resolution leaves something out."""
        return downsample.kept(self.train, self.query.resolution) < self.train


def plan(connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery) -> Plan:
    """Plan a read, inside one read transaction."""
    filters = _filters(connection, entry, query)
    condition = _row_condition(entry, filters)
    parameters = {
        "job": entry.no,
        "low": 0 if query.logged_at_from is None else query.logged_at_from,
        "high": INT64_MAX if query.logged_at_to is None else query.logged_at_to,
        **condition.parameters,
    }
    within = ["logged_at_from >= :low AND logged_at_max <= :high", *(f.all for f in filters)]
    touching = ["logged_at_from <= :high AND logged_at_max >= :low", *(f.some for f in filters)]
    stretches = connection.execute(
        "SELECT max(logged_at_from, :low), min(logged_at_max, :high), train, eval, bytes,"
        f" {' AND '.join(within)} FROM block"
        f" WHERE job = :job AND {' AND '.join(touching)} ORDER BY logged_at_from",
        parameters,
    )
    spans = [
        Span(low, high, train, evals, size)
        if whole
        else Span(low, high, *_count(connection, entry.no, low, high, condition), size)
        for low, high, train, evals, size, whole in stretches.fetchall()
    ]
    found = [span for span in spans if span.train or span.eval]
    columns = metrics(connection, entry.no, query)
    train, evals = sum(span.train for span in found), sum(span.eval for span in found)
    return Plan(
        entry.no, query, condition, found, columns, entry.job.cursor(entry.arrivals), train, evals
    )


def row_condition(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery
) -> Condition:
    """The condition of a query with its bounds in time, for reading by arrival."""
    sql, parameters = _row_condition(entry, _filters(connection, entry, query))
    bounds = {"logged_at_from": query.logged_at_from, "logged_at_to": query.logged_at_to}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    signs = {"logged_at_from": ">=", "logged_at_to": "<="}
    terms = [sql, *(f"logged_at {signs[name]} :{name}" for name in given)]
    return Condition(" AND ".join(terms), {**parameters, **given})


def metrics(connection: sqlite3.Connection, job: int, query: SnapshotQuery) -> list[Column]:
    """The job's metrics that `query.keys` selects, in the order first logged."""
    wanted = matcher(query.keys) if query.keys else None
    rows = connection.execute(
        "SELECT name, numbers & 1, numbers & 2, numbers & 4 FROM metric WHERE job = ?"
        " ORDER BY position",
        (job,),
    )
    return [
        Column(name, bool(has_float), bool(has_int), bool(has_big_int))
        for name, has_float, has_int, has_big_int in rows
        if wanted is None or wanted(name)
    ]


def _row_condition(entry: catalog.Entry, filters: Sequence[Filter]) -> Condition:
    """What a row must satisfy; one that came after this moment does not."""
    parameters: dict[str, int | str] = {"arrivals": entry.arrivals}
    for found in filters:
        parameters.update(found.parameters)
    return Condition(" AND ".join(["arrival <= :arrivals", *(f.row for f in filters)]), parameters)


def _filters(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery
) -> list[Filter]:
    """The query's filters, without those of time."""
    filters = []

    def add(name: str, value: int | None, row: str, some: str, every: str) -> None:
        if value is not None:
            filters.append(Filter(row, some, every, {name: value}))

    after = entry.job.arrival(query.after)
    add("after", after or None, "arrival > :after", "arrival_max > :after", "FALSE")
    add(
        "step_from",
        query.global_step_from,
        "global_step >= :step_from",
        "step_max >= :step_from",
        "step_min >= :step_from",
    )
    add(
        "step_to",
        query.global_step_to,
        "global_step <= :step_to",
        "step_min <= :step_to",
        "step_max <= :step_to",
    )
    add(
        "attempt",
        query.attempt if isinstance(query.attempt, int) else None,
        "attempt = :attempt",
        ":attempt BETWEEN attempt_min AND attempt_max",
        "attempt_min = :attempt AND attempt_max = :attempt",
    )
    if query.attempt is None:
        filters += _effective(_cutoffs(connection, entry.no))
    shapes = _shapes(connection, entry.no, query)
    if shapes is not None:
        # One parameter, however many: a job may have as many key sets as snapshots.
        row = "shape IN (SELECT value FROM json_each(:shapes))"
        some = "TRUE" if shapes else "FALSE"
        filters.append(Filter(row, some, "FALSE", {"shapes": json.dumps(shapes)}))
    return filters


def _effective(cutoffs: Sequence[tuple[int, int]]) -> list[Filter]:
    """The filter that leaves superseded snapshots out, if any are."""
    if not cutoffs:
        return []
    parameters: dict[str, int] = {}
    cases = []
    for i, (attempt, step) in enumerate(cutoffs):
        parameters |= {f"superseded{i}": attempt, f"cutoff{i}": step}
        cases.append(f"WHEN {{attempt}} <= :superseded{i} THEN :cutoff{i}")
    test = f"({{attempt}} > :superseded{len(cutoffs) - 1} OR {{step}} < CASE {' '.join(cases)} END)"
    return [
        Filter(
            test.format(attempt="attempt", step="global_step"),
            test.format(attempt="attempt_max", step="step_min"),
            test.format(attempt="attempt_min", step="step_max"),
            parameters,
        )
    ]


def _cutoffs(connection: sqlite3.Connection, job: int) -> list[tuple[int, int]]:
    """For runs of attempts with one cutoff, the last of them and the cutoff."""
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


def _shapes(connection: sqlite3.Connection, job: int, query: SnapshotQuery) -> Sequence[int] | None:
    if not query.keys or keeps_every_row(query.keys):
        return None
    wanted = matcher(query.keys)
    shapes = connection.execute("SELECT shape, keys FROM shape WHERE job = ?", (job,)).fetchall()
    matching = [shape for shape, keys in shapes if any(map(wanted, json.loads(keys)))]
    return None if len(matching) == len(shapes) else matching


def _count(
    connection: sqlite3.Connection, job: int, low: int, high: int, condition: Condition
) -> tuple[int, int]:
    """Matching train and eval snapshots of a stretch, counted row by row (primary key)."""
    counted = connection.execute(
        "SELECT count(*) - coalesce(sum(is_eval), 0), coalesce(sum(is_eval), 0) FROM snapshot"
        f" WHERE job = :job AND logged_at BETWEEN :low AND :high AND {condition.sql}",
        {"job": job, "low": low, "high": high, **condition.parameters},
    )
    train, evals = counted.fetchone()
    return train, evals
