"""What arrived after a cursor, in the order in which it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from tunelog.backends.clickhouse import filters
from tunelog.backends.clickhouse.few import few
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.planning import (
    IDENTITY,
    LAST,
    Identity,
    arrived,
    gone_or_changed,
    on_complete,
)
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.backends.clickhouse.streaming import begin
from tunelog.model import (
    Change,
    Changes,
    SnapshotArrived,
    SnapshotQuery,
    StatusChanged,
    Superseded,
)
from tunelog.wire.snapshots import renderer

PAGE_BYTES: Final = 8 << 20
"""A page ends when its lines are so long together."""


class Arrived(NamedTuple):
    """A snapshot in a job's arrivals, and what tells it from others."""

    arrival: int
    identity: Identity
    line: bytes
    exact: bytes | None


class Page(NamedTuple):
    """Some of a job's arrivals.

    Attributes:
        snapshots: those that match, as they came.
        until: up to here, none is missing.
        more: whether others came after that.
    """

    snapshots: list[Arrived]
    until: int
    more: bool


def changes(
    shard: Shard, number: int, state: JobState, query: SnapshotQuery, limit: int
) -> Changes:
    """Matching snapshots after `query.after`, and what else changed, as it came."""
    condition = filters.condition(shard, number, state, query)
    found_page = page(shard, condition, limit)
    until = found_page.until if found_page.more else max(found_page.until, arrived(state))
    render = renderer(query)
    found: list[tuple[int, Change]] = [
        (at, SnapshotArrived(str(at), render.one(line, exact) if render else line))
        for at, _, line, exact in found_page.snapshots
    ]
    found += [each for each in _others(state, query) if condition.after < each[0] <= until]
    found.sort(key=lambda each: each[0])
    if len(found) > limit:
        found, until = found[:limit], found[limit - 1][0]
        return Changes([change for _, change in found], str(until), True)
    return Changes([change for _, change in found], str(until), found_page.more)


def _others(state: JobState, query: SnapshotQuery) -> list[tuple[int, Change]]:
    """The status, and the attempts that supersede, with the arrival of each."""
    at = state.status_arrival
    found: list[tuple[int, Change]] = [(at, StatusChanged(str(at), state.job.status))]
    if isinstance(query.attempt, int):
        return found
    for number, opened in state.attempts.items():
        at, step = opened.superseding, opened.attempt.first_step
        if number > 1 and step is not None:
            found.append((at, Superseded(str(at), number, step)))
    return found


def page(shard: Shard, condition: Condition, limit: int) -> Page:
    """Matching snapshots after the condition's cursor, about as many as the limit says."""
    return on_complete(shard, condition, lambda node: _page(shard, node, condition, limit))


def _page(shard: Shard, node: Node, condition: Condition, limit: int) -> Page:
    """What came after the cursor: all, or so much as goes into a page."""
    after = max(condition.after, condition.born)
    all_of_it = few(node, condition, after)
    if all_of_it is not None:
        came = [
            Arrived(row.arrival, row.place[1:], row.line, row.exact or None)
            for row in all_of_it.rows
        ]
        return Page(sorted(came), max(after, all_of_it.until), more=False)
    return _first_page(shard, node, condition, after, limit)


def _first_page(
    shard: Shard, node: Node, condition: Condition, after: int, limit: int, end: int = LAST
) -> Page:
    """The first of several pages, of what came before `end`."""
    answer = node.query(
        f"SELECT max(arrival), minIf(arrival, {condition.untold}), countIf({condition.matching})"
        f" FROM snapshot WHERE {condition.of_job} AND arrival > {after} AND arrival < {end}",
    )
    until, untold, matching = map(int, answer.split())
    if untold:
        return _first_page(shard, node, condition, after, limit, untold)
    until = max(after, until)
    if not matching:
        return Page([], until, more=False)
    answer = node.query(
        "SELECT count(), max(arrival) FROM (SELECT arrival FROM snapshot"
        f" WHERE {condition.until(until)} ORDER BY arrival LIMIT {limit + 1})",
    )
    rows, last = map(int, answer.split())
    found = list(_rows(shard, node, condition, last, rows)) if rows else []
    whole = len(found) == rows
    end = until if whole and rows <= limit else found[-1].arrival
    once = {each.identity: each for each in found}  # of repeats the last
    if end < until:
        for identity in _repeated_later(node, condition, found, until):
            once.pop(identity, None)
    return Page(sorted(once.values()), end, more=end < until)


def _rows(
    shard: Shard, node: Node, condition: Condition, last: int, expected: int
) -> Iterator[Arrived]:
    """Matching rows as they came, until the page is full."""
    sql = (
        f"SELECT line, exact, arrival, {IDENTITY} FROM snapshot"
        f" PREWHERE {condition.until(last)} ORDER BY arrival LIMIT {expected}"
    )
    short = partial(gone_or_changed, shard, condition)
    pieces = begin(shard, node, sql, expected, short, _decoded)
    size = 0
    with closing(pieces):
        for row in chain.from_iterable(pieces):
            yield row
            size += len(row.line)
            if size > PAGE_BYTES:
                return


def _decoded(lines: bytes) -> list[Arrived]:
    return [_row(line) for line in lines.split(b"\n")] if lines else []


def _row(text: bytes) -> Arrived:
    line, exact, arrival, *place = text.split(b"\t")
    attempt, writer, seq = map(int, place)
    return Arrived(int(arrival), (attempt, writer, seq), line, exact or None)


def _repeated_later(
    node: Node, condition: Condition, found: Sequence[Arrived], until: int
) -> Iterator[Identity]:
    """Those of the rows that came again after all of these."""
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for attempt, writer, seq in (each.identity for each in found):
        low, high = ends.get((attempt, writer), (seq, seq))
        ends[attempt, writer] = min(low, seq), max(high, seq)
    stretches = " OR ".join(
        f"attempt = {attempt} AND writer = {writer} AND seq >= {low} AND seq <= {high}"
        for (attempt, writer), (low, high) in ends.items()
    )
    later = f"arrival > {found[-1].arrival} AND arrival <= {until} AND ({stretches})"
    answer = node.query(f"SELECT {IDENTITY} FROM snapshot WHERE {condition.of_job} AND {later}")
    for line in answer.splitlines():
        attempt, writer, seq = map(int, line.split())
        yield attempt, writer, seq
