"""Reading: what matches, whole or a sample of it, encoded, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tunelog.backends.clickhouse import filters, sampling
from tunelog.backends.clickhouse.few import Row, few
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.hot import orders
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.planning import Moment, cursor, gone_or_changed, on_complete, plan
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.backends.clickhouse.streaming import begin
from tunelog.errors import TunelogError
from tunelog.model import ROW_SEPARATOR, Reading, SnapshotQuery
from tunelog.wire.snapshots import renderer


def read(shard: Shard, number: int, state: JobState, query: SnapshotQuery) -> Reading:
    """The matching snapshots, encoded, in order; `state` is the job's, loaded just before."""
    condition = filters.condition(shard, number, state, query)

    def ask(node: Node) -> Reading:
        if hot := _hot(shard, node, condition, state, query):
            return hot
        found = few(node, condition)
        if found is not None:
            shown = sampling.sample_few(shard, found.rows, number, state, query)
            last = cursor(state, found.until)
            return Reading(len(found.rows), len(shown), last, _chunks_of(shown, query))
        if sampling.is_hot(condition, query):
            orders(shard).want(condition)
        moment = plan(node, condition)
        terms, returned = sampling.sample(shard, moment, state, query)
        chunks = _chunks(shard, moment, query, terms, returned)
        matched = moment.train + moment.eval
        return Reading(matched, returned, cursor(state, moment.until), chunks)

    return on_complete(shard, condition, ask)


def _hot(
    shard: Shard, node: Node, condition: Condition, state: JobState, query: SnapshotQuery
) -> Reading | None:
    """A sample of a job of which it is in memory where its snapshots stand."""
    if not sampling.is_hot(condition, query):
        return None
    known = orders(shard)
    picks = known.use(node, condition, partial(sampling.pick, query.resolution or 0))
    if picks is None:
        return None

    def short() -> TunelogError:
        known.forget(condition)
        return gone_or_changed(shard, condition)

    columns, show = _shown(query)
    returned = len(picks.train_kept) + picks.eval
    chunks: Iterator[bytes] = iter(())
    if returned:
        chunks = begin(shard, node, picks.select(columns, condition), returned, short, show)
    return Reading(picks.train + picks.eval, returned, cursor(state, picks.until), chunks)


def _chunks(
    shard: Shard, moment: Moment, query: SnapshotQuery, terms: list[str], returned: int
) -> Iterator[bytes]:
    """The snapshots that fulfil these terms, of which there are `returned`."""
    if not returned:
        return iter(())
    columns, show = _shown(query)
    sql = moment.select(columns, *terms)
    short = partial(gone_or_changed, shard, moment.condition)
    return begin(shard, moment.node, sql, returned, short, show)


def _chunks_of(shown: Sequence[Row], query: SnapshotQuery) -> Iterator[bytes]:
    render = renderer(query)
    if shown:
        yield ROW_SEPARATOR.join(
            [render.one(row.line, row.exact or None) if render else row.line for row in shown]
        )


def _shown(query: SnapshotQuery) -> tuple[str, Callable[[bytes], bytes]]:
    """The columns that are wanted, and how their lines are shown."""
    render = renderer(query)
    if render is None:
        return "line", lambda lines: lines.replace(b"\n", ROW_SEPARATOR)

    def rendered(lines: bytes) -> bytes:
        found = [line.partition(b"\t") for line in lines.split(b"\n")] if lines else []
        if not any(exact for *_, exact in found):
            return render.many(ROW_SEPARATOR.join([line for line, *_ in found])) if found else b""
        return ROW_SEPARATOR.join([render.one(line, exact or None) for line, _, exact in found])

    return "line, exact", rendered
