"""What a read will look at: a condition, and the stretches of time that hold matching snapshots.

Blocks answer most of a query without a look at rows: a block matches wholly, or not at all, or in
part; only the last kind is looked into, if it is packed by frames first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from tunelog import downsample
from tunelog.backends.sqlite import blocks, catalog, filters
from tunelog.backends.sqlite.blocks import Block
from tunelog.backends.sqlite.filters import Condition
from tunelog.backends.sqlite.frames import Counts
from tunelog.backends.sqlite.segments import Segment, Source
from tunelog.model import INT64_MAX, Column, SnapshotQuery
from tunelog.wire.snapshots import matcher


class Span(NamedTuple):
    """A stretch of time, bounds included, and how many snapshots in it match.

    `bytes` is what their lines have at most; `inside` says that the block lies within every filter
    but that of keys, `whole` that all of it match; `segment` is the block's, if it is packed.
    """

    low: int
    high: int
    train: int
    eval: int
    bytes: int
    inside: bool
    whole: bool
    segment: int | None


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


def plan(
    connection: sqlite3.Connection, source: Source, entry: catalog.Entry, query: SnapshotQuery
) -> Plan:
    """Plan a read, inside one read transaction."""
    condition = filters.condition(connection, entry, query)
    low = max(query.logged_at_from or 0, 0)
    high = INT64_MAX if query.logged_at_to is None else query.logged_at_to
    spans = []
    for block in blocks.between(connection, entry.no, low, high, query):
        found = condition.matching(block)
        if found is None:
            found = _count(connection, source, entry.no, block, condition)
        if found != (0, 0):
            ends = max(low, block.logged_at_from), min(high, block.logged_at_max)
            whole = sum(found) == block.size
            inside = whole or condition.inside(block)
            spans.append(Span(*ends, *found, block.bytes, inside, whole, block.segment))
    columns = metrics(connection, entry.no, query)
    train, evals = sum(span.train for span in spans), sum(span.eval for span in spans)
    return Plan(
        entry.no,
        query,
        condition.until(entry.arrivals),
        spans,
        columns,
        entry.job.cursor(entry.arrivals),
        train,
        evals,
    )


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


def _count(
    connection: sqlite3.Connection, source: Source, job: int, block: Block, condition: Condition
) -> Counts:
    """Matching train and eval snapshots of a block, counted one by one where one must."""
    if block.segment is not None:
        segment = source.segment_by(connection, block.segment)
        assert segment is not None, f"block without its segment {block.segment}"
        return _count_packed(source, segment, condition)
    counted = connection.execute(
        "SELECT count(*) - coalesce(sum(is_eval), 0), coalesce(sum(is_eval), 0) FROM snapshot"
        f" WHERE job = :job AND logged_at BETWEEN :from AND :max AND {condition.sql}",
        {
            "job": job,
            "from": block.logged_at_from,
            "max": block.logged_at_max,
            **condition.parameters,
        },
    )
    train, evals = counted.fetchone()
    return train, evals


def _count_packed(source: Source, segment: Segment, condition: Condition) -> Counts:
    train = evals = 0
    for number, frame in enumerate(segment.frames):
        found = condition.matching(frame)
        if found is None:
            matching = [row.is_eval for row in source.rows(segment, number) if condition.all(row)]
            found = matching.count(0), matching.count(1)
        train, evals = train + found[0], evals + found[1]
    return train, evals
