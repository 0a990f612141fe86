"""What a read is about to give: how much matches, and up to which arrival.

Every statement of one read is asked on one replica and bounded by one arrival, so together they
show one moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from tunelog.backends.clickhouse import state as states
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.errors import NotFound, StoreUnavailable, TunelogError
from tunelog.model import AUTO_SEQ, Cursor

ORDER: Final = "logged_at, attempt, writer, seq"
"""What snapshots are read by."""

IDENTITY: Final = "attempt, writer, seq"
"""What a snapshot of a job is known by."""

Identity = tuple[int, int, int]
"""Attempt, writer and sequence number."""

LAST: Final = 2**64 - 1
"""No arrival is greater."""

Answer = TypeVar("Answer")

_STRETCHES = 16
"""So many different ranges of sequence numbers are compared with what is there."""


class Moment(NamedTuple):
    """What matched on a replica when it was asked.

    Attributes:
        node: the replica.
        condition: what matches.
        until: the greatest arrival among the job's rows.
        train: how many train snapshots match.
        eval: how many eval snapshots match.
        repeated: whether a snapshot lies there more than once; the row that arrived last counts.
    """

    node: Node
    condition: Condition
    until: int
    train: int
    eval: int
    repeated: bool

    def select(self, columns: str, *terms: str, order: str = ORDER) -> str:
        """A statement that gives matching snapshots that fulfil these terms, each once."""
        rows = self.condition.until(self.until, *terms)
        sql = f"SELECT {columns} FROM snapshot PREWHERE {rows}"
        if not self.repeated:
            return f"{sql} ORDER BY {order}"
        return f"{sql} WHERE {self._last} ORDER BY {order} LIMIT 1 BY {IDENTITY}"

    @property
    def _last(self) -> str:
        """Leaves out rows that another of the same snapshot came after.

        Those that came last may still be several, the same in everything, of a block that was
        forced.
        """
        earlier = (
            f"SELECT {IDENTITY}, arrayJoin(arrayPopBack(arraySort(groupUniqArray(arrival))))"
            f" FROM snapshot WHERE {self.condition.of_job} AND arrival <= {self.until}"
            f" GROUP BY {IDENTITY} HAVING count() > 1"
        )
        return f"({IDENTITY}, arrival) NOT IN ({earlier})"


class _Series(NamedTuple):
    """What a writer logged in an attempt, as far as it numbered it itself, or the store did."""

    rows: int
    low: int
    high: int
    hashed: int
    train: int
    eval: int
    until: int
    untold: int


def on_complete(shard: Shard, condition: Condition, ask: Callable[[Node], Answer]) -> Answer:
    """What a replica answers that has all of the job that was acknowledged."""
    of_job = condition.of_job
    return shard.complete(
        f"SELECT count(), sum(intHash64(arrival)) FROM snapshot WHERE {of_job}",
        f"SELECT DISTINCT cityHash64({IDENTITY}) FROM snapshot WHERE {of_job}",
        ask,
    )


def plan(node: Node, condition: Condition, most: int = LAST) -> Moment:
    """Count what matches, of what arrived by `most`."""
    rows = node.query(
        "SELECT count(), min(seq), max(seq), sum(intHash64(seq)),"
        f" countIf(kind = 0 AND {condition.matching}),"
        f" countIf(kind = 1 AND {condition.matching}), max(arrival),"
        f" minIf(arrival, {condition.untold})"
        f" FROM snapshot WHERE {condition.of_job} AND arrival <= {most}"
        f" GROUP BY attempt, writer, seq >= {AUTO_SEQ}",
    )
    series = [_Series(*map(int, line.split())) for line in rows.splitlines()]
    untold = [each.untold for each in series if each.untold]
    if untold:
        return plan(node, condition, min(untold) - 1)
    until = max((each.until for each in series), default=0)
    train, evals = sum(each.train for each in series), sum(each.eval for each in series)
    found = Moment(node, condition, until, train, evals, repeated=False)
    return found if _all_once(node, series) else _counted_once(found)


def _all_once(node: Node, series: list[_Series]) -> bool:
    """Whether every row is another snapshot, so far as can be told without much ado.

    It is so where a writer's numbers are all those between the lowest and the highest, which a sum
    of their hashes tells.
    """
    if any(each.high - each.low + 1 != each.rows for each in series):
        return False
    stretches = {(each.low, each.rows): each.hashed for each in series}
    if len(stretches) > _STRETCHES:
        return False
    if not stretches:
        return True
    sums = " UNION ALL ".join(
        f"SELECT toInt64({low}), count(), sum(intHash64(toInt64({low} + number)))"
        f" FROM numbers({rows})"
        for low, rows in stretches
    )
    found = {tuple(map(int, line.split())) for line in node.query(sums).splitlines()}
    return found == {(each.low, each.rows, each.hashed) for each in series}


def _counted_once(moment: Moment) -> Moment:
    """The same, if no snapshot lies there twice; else what matches of the rows that count."""
    rows = f"FROM snapshot WHERE {moment.condition.of_job} AND arrival <= {moment.until}"
    answer = moment.node.query(f"SELECT count(), uniqExact({IDENTITY}) {rows}")
    there, once = map(int, answer.split())
    if there == once:
        return moment
    moment = moment._replace(repeated=True)
    counts = moment.node.query(
        f"SELECT kind, count() FROM ({moment.select('kind', order='kind')}) GROUP BY kind"
    )
    pairs = (each.split() for each in counts.splitlines())
    found = {int(kind): int(count) for kind, count in pairs}
    return moment._replace(train=found.get(0, 0), eval=found.get(1, 0))


def cursor(state: JobState, until: int) -> Cursor:
    """Everything up to here has been seen by who has seen the state, and the rows until then."""
    return str(max(arrived(state), until))


def arrived(state: JobState) -> int:
    """The greatest arrival that a reader can meet in a state: events have none for a reader."""
    superseding = (opened.superseding for opened in state.attempts.values())
    return max(state.born, state.adopted, state.status_arrival, *superseding)


def gone_or_changed(shard: Shard, condition: Condition) -> TunelogError:
    """Why a reading gives fewer snapshots than were counted when it began."""
    record = shard.record(f"kind = {Kind.STATE:d} AND job = {condition.number}")
    if record is not None:
        found = states.decode(record.body)
        if not found.deleted and found.born == condition.born:
            return StoreUnavailable("ClickHouse: the job's rows changed while it was read")
    return NotFound("the job was deleted while it was read")
