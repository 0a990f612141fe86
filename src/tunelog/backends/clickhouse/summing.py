"""A job's metrics, and what they amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from typing import cast

import msgspec

from tunelog.backends.clickhouse import filters, rows
from tunelog.backends.clickhouse.extracting import can_be_extracted, extract
from tunelog.backends.clickhouse.few import few
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.planning import Moment, gone_or_changed, on_complete, plan
from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.backends.clickhouse.streaming import begin
from tunelog.model import Column, SnapshotQuery, Summary
from tunelog.model import Kind as SnapshotKind
from tunelog.wire.snapshots import decode_values, matcher
from tunelog.wire.summaries import Summarizer, summed

Row = tuple[SnapshotKind, int, Mapping[str, int | float]]


def columns(shard: Shard, number: int, state: JobState, query: SnapshotQuery) -> Sequence[Column]:
    """The job's metrics that `query.keys` selects, in the order first logged."""
    found = shard.records(f"kind = {Kind.METRIC:d} AND job = {number} AND version > {state.born}")
    known = rows.columns([msgspec.json.decode(each.body, type=rows.Metric) for each in found])
    wanted = matcher(query.keys) if query.keys else None
    return [column for column in known if wanted is None or wanted(column.name)]


def summarize(shard: Shard, number: int, state: JobState, query: SnapshotQuery) -> Summary:
    """Counts, extremes and ends of the matching snapshots."""
    condition = filters.condition(shard, number, state, query)
    names = [column.name for column in columns(shard, number, state, query)]

    def ask(node: Node) -> Summary:
        summarizer = Summarizer(query, names)
        found = few(node, condition)
        if found is not None:
            summarizer.add((rows.KIND_OF[row.kind], row.step, row.values) for row in found.rows)
            return summarizer.summary()
        moment = plan(node, condition)
        if can_be_extracted(names):
            _sum_up_columns(shard, moment, names, summarizer)
        else:
            _sum_up_lines(shard, moment, summarizer)
        return summarizer.summary()

    return on_complete(shard, condition, ask)


def _sum_up_columns(
    shard: Shard, moment: Moment, names: Sequence[str], summarizer: Summarizer
) -> None:
    expected = moment.train + moment.eval
    for series in extract(shard, moment, names, expected, beside=("kind", "step")):
        kinds, steps = (cast(list[int], each.values) for each in series[:2])
        evals = sum(kinds)
        found = {}
        for name, (values, _) in zip(names, series[2:], strict=True):
            there = [value is not None for value in values]
            if any(there):
                numbers = cast(list[int | float], list(compress(values, there)))
                found[name] = summed(list(compress(steps, there)), numbers)
        summarizer.add_stretch(len(kinds) - evals, evals, found)


def _sum_up_lines(shard: Shard, moment: Moment, summarizer: Summarizer) -> None:
    sql = moment.select("line, exact, kind, step")
    expected = moment.train + moment.eval
    short = partial(gone_or_changed, shard, moment.condition)
    for snapshots in begin(shard, moment.node, sql, expected, short, _decoded):
        summarizer.add(snapshots)


def _decoded(lines: bytes) -> list[Row]:
    return [_row(line) for line in lines.split(b"\n")] if lines else []


def _row(text: bytes) -> Row:
    line, exact, kind, step = text.split(b"\t")
    return rows.KIND_OF[int(kind)], int(step), decode_values(line, exact or None)
