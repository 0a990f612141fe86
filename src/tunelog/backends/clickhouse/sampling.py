"""Samples: which train snapshots a resolution keeps, as the terms of a statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from tunelog import downsample
from tunelog.backends.clickhouse.extracting import Series, can_be_extracted, extract
from tunelog.backends.clickhouse.few import Row
from tunelog.backends.clickhouse.filters import NOTHING, Condition, one_of
from tunelog.backends.clickhouse.hot import Order
from tunelog.backends.clickhouse.planning import IDENTITY, ORDER, Identity, Moment, gone_or_changed
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.backends.clickhouse.streaming import begin
from tunelog.backends.clickhouse.summing import columns
from tunelog.model import SnapshotQuery
from tunelog.wire.snapshots import decode_values

MOST_PICKS: Final = 2_000
"""So many snapshots are asked for one by one."""

TRAIN, EVAL = "kind = 0", "kind = 1"


def sample(
    shard: Shard, moment: Moment, state: JobState, query: SnapshotQuery
) -> tuple[list[str], int]:
    """What a snapshot fulfils that is kept, and how many these are."""
    matching, resolution = moment.train, query.resolution
    if resolution is None or resolution >= matching:
        return [], matching + moment.eval
    if query.sampling == "minmax" and resolution > 0:
        ordinals = _minmax(shard, moment, state, query, resolution)
        return _kept(moment, f"ordinal IN {one_of(ordinals, 'Int64')}"), len(ordinals) + moment.eval
    kept = downsample.kept(matching, resolution)
    return _kept(moment, uniform(matching, kept)), kept + moment.eval


class Picks(NamedTuple):
    """Snapshots that are kept, and how many match.

    Attributes:
        train_kept: attempt, writer and sequence number of each train snapshot that is kept.
        eval_kept: the same of the eval snapshots, of which all are; None if they are many.
        train: how many train snapshots match.
        eval: how many eval snapshots match.
        until: so far they had arrived.
    """

    train_kept: Sequence[Identity]
    eval_kept: Sequence[Identity] | None
    train: int
    eval: int
    until: int

    def select(self, columns: str, condition: Condition) -> str:
        """A statement that gives those that are kept."""
        terms = [_listed(TRAIN, self.train_kept)]
        if self.eval_kept is None:
            terms.append(f"{EVAL} AND arrival <= {self.until} AND {condition.matching}")
        else:  # then the engine need not look at all arrivals
            terms.append(_listed(EVAL, self.eval_kept))
        return (
            f"SELECT {columns} FROM snapshot"
            f" PREWHERE {condition.of_job} AND ({' OR '.join(terms)})"
            f" ORDER BY {ORDER} LIMIT 1 BY {IDENTITY}"
        )


def _listed(kind: str, kept: Sequence[Identity]) -> str:
    listed = ",".join(f"({attempt},{writer},{seq})" for attempt, writer, seq in kept)
    return f"{kind} AND ({IDENTITY}) IN ({listed})" if kept else NOTHING


def is_hot(condition: Condition, query: SnapshotQuery) -> bool:
    """Whether it would help to have in memory where the snapshots stand."""
    if query.resolution is None or query.sampling != "uniform":
        return False
    return 0 < query.resolution <= MOST_PICKS and condition.after <= condition.born


def pick(resolution: int, order: Order) -> Picks:
    """What a uniform sample keeps of an order."""
    train = len(order.train)
    ordinals = downsample.uniform(train, resolution)
    train_kept = [order.train[ordinal][1:] for ordinal in ordinals]
    evals = len(order.eval)
    eval_kept = None
    if evals <= MOST_PICKS:
        eval_kept = [order.eval[ordinal][1:] for ordinal in range(evals)]
    return Picks(train_kept, eval_kept, train, evals, order.until)


def sample_few(
    shard: Shard, rows: Sequence[Row], number: int, state: JobState, query: SnapshotQuery
) -> Sequence[Row]:
    """Of all rows that match, those that are kept."""
    train = [row for row in rows if row.kind == 0]
    resolution = query.resolution
    if resolution is None or resolution >= len(train):
        return rows
    ordinals: Iterable[int] = downsample.uniform(len(train), resolution)
    if query.sampling == "minmax" and resolution > 0:
        keys = _watched(shard, number, state, query)
        values = (row.values for row in train)
        ordinals = downsample.minmax(values, keys, len(train), resolution)
    picked = {train[ordinal].place for ordinal in ordinals}
    return [row for row in rows if row.kind == 1 or row.place in picked]


def uniform(matching: int, kept: int) -> str:
    """Of an `ordinal` among `matching`: whether it is one of the `kept` that are evenly spread.

    That is floor(i·span/gaps) for some i; the first i for which it is not below `ordinal` is
    ceil(ordinal·gaps/span).
    """
    span, gaps = matching - 1, kept - 1
    if kept < 2:
        return f"ordinal = {span}" if kept else NOTHING
    nearest = f"intDiv(ordinal * {gaps} + {span - 1}, {span})"
    return f"intDiv({nearest} * {span}, {gaps}) = ordinal"


def _kept(moment: Moment, pick: str) -> list[str]:
    """The terms for every eval snapshot and the train snapshots of which the ordinal is picked.

    Ordinals are numbered over what is sorted, without the text of snapshots.
    """
    if pick == NOTHING:
        return [EVAL]
    numbered = f"SELECT {IDENTITY}, toInt64(rowNumberInAllBlocks()) AS ordinal"
    picked = f"SELECT {IDENTITY} FROM ({numbered} FROM ({moment.select(IDENTITY, TRAIN)}))"
    return [f"({EVAL} OR {TRAIN} AND ({IDENTITY}) IN ({picked} WHERE {pick}))"]


def _minmax(
    shard: Shard, moment: Moment, state: JobState, query: SnapshotQuery, resolution: int
) -> Sequence[int]:
    """The ordinals that minmax keeps."""
    keys = _watched(shard, moment.condition.number, state, query)
    chosen = downsample.MinMax(keys, moment.train, resolution)
    if chosen.looks and can_be_extracted(chosen.watched):
        for series in extract(shard, moment, chosen.watched, moment.train, TRAIN):
            _look_at(chosen, series)
    elif chosen.looks:
        for values in _values(shard, moment):
            chosen.add(values)
    return chosen.ordinals()


def _look_at(chosen: downsample.MinMax, series: list[Series]) -> None:
    """Look at the next snapshots, as many of a bucket at once as there are."""
    count = len(series[0].values)
    start = 0
    while start < count:
        end = min(count, start + chosen.room)
        extremes = (each.extreme(start, end) for each in series)
        found = dict(zip(chosen.watched, extremes, strict=True))
        chosen.add_stretch(end - start, found)
        start = end


def _watched(shard: Shard, number: int, state: JobState, query: SnapshotQuery) -> list[str]:
    """The metrics of which minmax keeps extremes."""
    known = columns(shard, number, state, query)
    return [column.name for column in known if not column.name.startswith("eval/")]


def _values(shard: Shard, moment: Moment) -> Iterator[downsample.Values]:
    """The values of the matching train snapshots, in order."""
    sql = moment.select("line, exact", TRAIN)
    short = partial(gone_or_changed, shard, moment.condition)
    for rows in begin(shard, moment.node, sql, moment.train, short, _decoded):
        yield from rows


def _decoded(lines: bytes) -> list[downsample.Values]:
    if not lines:
        return []
    found = [line.partition(b"\t") for line in lines.split(b"\n")]
    if any(exact for *_, exact in found):
        return [decode_values(line, exact or None) for line, _, exact in found]
    rows: list[downsample.Values] = msgspec.json.decode(
        b"[" + b",".join([line for line, *_ in found]) + b"]"
    )
    return rows
