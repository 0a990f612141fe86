"""Streaming what a plan found, a stretch at a time, each in a short transaction of its own.

Rows never change once stored, and the plan's condition leaves out what arrived later, so a slow
reader sees one moment without holding a transaction open.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tunelog import downsample
from tunelog.backends.sqlite import catalog
from tunelog.backends.sqlite.planning import Plan, Span, row_condition
from tunelog.errors import NotFound
from tunelog.model import (
    INT64_MAX,
    ROW_SEPARATOR,
    Change,
    Kind,
    SnapshotQuery,
    StatusChanged,
    Superseded,
)
from tunelog.wire.snapshots import Render, decode_values, renderer

Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]
Position = tuple[int, int, int, int]
Row = tuple[int, int, int, int, bytes, bytes | None]
"""Logged_at, attempt, writer and seq, which reads sort by; line and exact."""

_PAGE = 2048
"""The most rows that are held at once."""

_PAGE_BYTES = 1 << 21
"""About the most bytes of lines that are held at once; one line may be longer."""

_ORDER = "logged_at, attempt, writer, seq"
_REVERSED = "logged_at DESC, attempt DESC, writer DESC, seq DESC"


def chunks(connect: Connect, plan: Plan) -> Iterator[bytes]:
    """Every matching snapshot, encoded. `NotFound` if the job is deleted meanwhile."""
    render = renderer(plan.query)
    for span in plan.spans:
        if render is None and span.bytes <= _PAGE_BYTES:
            yield _lines(connect, plan, span)
            continue
        seen = 0
        for page in _pages(connect, plan, span, ""):
            seen += len(page)
            yield _joined(page, render)
        _all_there(seen, span.train + span.eval)


def sampled_chunks(
    connect: Connect, plan: Plan, ordinals: Iterator[int], count: int
) -> Iterator[bytes]:
    """The `count` train snapshots at `ordinals`, and every eval snapshot, encoded.

    `NotFound` if the job is deleted meanwhile.
    """
    render = renderer(plan.query)
    rows = heapq.merge(_picked(connect, plan, ordinals), _evals(connect, plan))
    seen, full = 0, True
    while full:
        page, full = _page_of(rows)
        seen += len(page)
        if page:
            yield _joined(page, render)
    _all_there(seen, count + plan.eval)


def minmax_ordinals(connect: Connect, plan: Plan, resolution: int) -> list[int]:
    """The ordinals that minmax keeps; looks at every matching train snapshot."""
    keys = [c.name for c in plan.columns if not c.name.startswith("eval/")]
    values = (
        decode_values(row[4], row[5])
        for span in plan.spans
        for page in _pages(connect, plan, span, " AND is_eval = 0")
        for row in page
    )
    return list(downsample.minmax(values, keys, plan.train, resolution))


def every_snapshot(
    connect: Connect, plan: Plan
) -> Iterator[tuple[Kind, int, dict[str, int | float]]]:
    """Every matching snapshot's kind, step and values, in order."""
    for span in plan.spans:
        for page in _pages(connect, plan, span, "", ", is_eval, global_step"):
            for *_, line, exact, is_eval, step in page:
                yield ("eval" if is_eval else "train"), step, decode_values(line, exact)


def arrived(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery, limit: int
) -> tuple[list[tuple[int, bytes, bytes | None]], bool]:
    """Matching snapshots after `query.after`, as they came, and whether there are more.

    Uses the index snapshot_by_arrival.
    """
    condition = row_condition(connection, entry, query)
    rows = connection.execute(
        "SELECT arrival, line, exact FROM snapshot INDEXED BY snapshot_by_arrival"
        f" WHERE job = :job AND {condition.sql} ORDER BY arrival LIMIT :limit",
        {"job": entry.no, "limit": limit + 1, **condition.parameters},
    )
    found: list[tuple[int, bytes, bytes | None]] = []
    size = 0
    for row in rows:
        if len(found) == limit or size > _PAGE_BYTES:
            return found, True
        found.append(row)
        size += len(row[1])
    return found, False


def other_changes(
    connection: sqlite3.Connection, entry: catalog.Entry, query: SnapshotQuery
) -> list[tuple[int, Change]]:
    """The status, and the attempts that supersede, with the arrival of each."""
    at, job = entry.status_arrival, entry.job
    changes: list[tuple[int, Change]] = [(at, StatusChanged(job.cursor(at), job.status))]
    if not isinstance(query.attempt, int):
        rows = connection.execute(
            "SELECT superseding, attempt, first_step FROM attempt"
            " WHERE job = ? AND attempt > 1 AND first_step IS NOT NULL",
            (entry.no,),
        )
        changes += [(at, Superseded(job.cursor(at), attempt, step)) for at, attempt, step in rows]
    return [(at, change) for at, change in changes if at > job.arrival(query.after)]


def _page_of(rows: Iterator[Any]) -> tuple[list[Any], bool]:
    """The next rows, as many as are held at once, and whether that stopped it."""
    page, size = [], 0
    for row in rows:
        page.append(row)
        size += len(row[4])
        if len(page) == _PAGE or size > _PAGE_BYTES:
            return page, True
    return page, False


def _joined(page: list[Row], render: Render | None) -> bytes:
    if render is None:
        return ROW_SEPARATOR.join([row[4] for row in page])
    return ROW_SEPARATOR.join([render(row[4], row[5]) for row in page])


def _all_there(seen: int, matching: int) -> None:
    if seen < matching:
        raise NotFound("the job was deleted while it was read")


def _lines(connect: Connect, plan: Plan, span: Span) -> bytes:
    """The lines of a stretch as they are stored (primary key)."""
    with connect() as connection:
        lines = connection.execute(
            "SELECT line FROM snapshot WHERE job = :job AND logged_at BETWEEN :low AND :high"
            f" AND {plan.condition.sql} ORDER BY {_ORDER}",
            _parameters(plan, span),
        ).fetchall()
    _all_there(len(lines), span.train + span.eval)
    return ROW_SEPARATOR.join([line for (line,) in lines])


def _parameters(plan: Plan, span: Span) -> dict[str, int | str]:
    return {"job": plan.job, "low": span.low, "high": span.high, **plan.condition.parameters}


def _pages(
    connect: Connect, plan: Plan, span: Span, also: str, more: str = "", index: str = ""
) -> Iterator[list[Any]]:
    """The rows of a stretch, with `more` columns, some at a time (primary key)."""
    last: Position = (span.low - 1, INT64_MAX, 0, 0)  # after everything before span.low
    parameters = _parameters(plan, span)
    full = True
    while full:
        parameters |= zip(("at", "attempt_at", "writer_at", "seq_at"), last, strict=True)
        with connect() as connection:
            rows = connection.execute(
                f"SELECT {_ORDER}, line, exact{more} FROM snapshot{index}"
                f" WHERE job = :job AND logged_at <= :high"
                f" AND ({_ORDER}) > (:at, :attempt_at, :writer_at, :seq_at){also}"
                f" AND {plan.condition.sql} ORDER BY {_ORDER} LIMIT {_PAGE}",
                parameters,
            )
            page, full = _page_of(rows)
            rows.close()
        if page:
            yield page
            last = page[-1][:4]


def _picked(connect: Connect, plan: Plan, ordinals: Iterator[int]) -> Iterator[Row]:
    """The train snapshots at `ordinals`, which ascend."""
    base = 0
    ordinal = next(ordinals, None)
    for span in plan.spans:
        wanted = []
        while ordinal is not None and ordinal < base + span.train:
            wanted.append(ordinal - base)
            ordinal = next(ordinals, None)
        base += span.train
        if wanted:
            yield from _at(connect, plan, span, wanted)


def _at(connect: Connect, plan: Plan, span: Span, wanted: list[int]) -> Iterator[Row]:
    """The train snapshots at these ordinals of a stretch: by seeking if they are few."""
    if len(wanted) * 16 > span.train:
        picks = iter(wanted)
        pick = next(picks, None)
        rows = (row for page in _pages(connect, plan, span, " AND is_eval = 0") for row in page)
        for ordinal, row in enumerate(rows):
            if ordinal == pick:
                yield row
                pick = next(picks, None)
        return
    at_once = max(1, _PAGE_BYTES * (span.train + span.eval) // (span.bytes + 1))
    for start in range(0, len(wanted), at_once):
        found: list[Row] = []
        with connect() as connection:
            for ordinal in wanted[start : start + at_once]:
                found += connection.execute(*_seek(plan, span, ordinal)).fetchall()
        yield from found


def _seek(plan: Plan, span: Span, ordinal: int) -> tuple[str, dict[str, int | str]]:
    """The statement for one train snapshot of a stretch, counted from its nearer end."""
    from_end = span.train - 1 - ordinal
    order = _REVERSED if from_end < ordinal else _ORDER
    statement = (
        f"SELECT {_ORDER}, line, exact FROM snapshot"
        " WHERE job = :job AND logged_at BETWEEN :low AND :high AND is_eval = 0"
        f" AND {plan.condition.sql} ORDER BY {order} LIMIT 1 OFFSET :skip"
    )
    return statement, {**_parameters(plan, span), "skip": min(ordinal, from_end)}


def _evals(connect: Connect, plan: Plan) -> Iterator[Row]:
    """Every matching eval snapshot (index snapshot_eval)."""
    if plan.eval:
        whole = Span(plan.spans[0].low, plan.spans[-1].high, 0, 0, 0)
        index = " INDEXED BY snapshot_eval"  # else the primary key is walked, past every train row
        for page in _pages(connect, plan, whole, " AND is_eval = 1", index=index):
            yield from page
