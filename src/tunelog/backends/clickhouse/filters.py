"""Filters of a query as the condition of a statement.

A statement of ClickHouse takes no parameters in 18.16, so what is put into it are whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState
from tunelog.model import INT64_MAX, SnapshotQuery
from tunelog.wire.snapshots import keeps_every_row, matcher

NOTHING: Final = "0"
"""The filter that no snapshot passes."""

_UINT32_MAX = 2**32 - 1
_UINT64_MAX = 2**64 - 1


class Condition(NamedTuple):
    """Every filter of a query against one job as it stood at one moment.

    Attributes:
        number: the job's.
        born: what arrived until then belongs to a deleted job of the same id.
        void: arrivals of rows that do not count.
        after: only what arrived after this matches.
        filters: what else a matching row fulfils.
        untold: of rows that lie there before the records that tell of them: a writer writes
            snapshots first, and then that an attempt begins with them, or what a new key set is.
    """

    number: int
    born: int
    void: tuple[tuple[int, int], ...]
    after: int
    filters: tuple[str, ...]
    untold: str

    @property
    def of_job(self) -> str:
        """For `WHERE`: every row of the job. A range of the primary key."""
        born = f" AND arrival > {self.born}" if self.born else ""
        return f"job = {self.number}{born}{but(self.void)}"

    @property
    def matching(self) -> str:
        """Of a row of the job: whether it matches."""
        after = [f"arrival > {self.after}"] if self.after > self.born else []
        return " AND ".join([*after, *self.filters]) or "1"

    def until(self, arrival: int, *terms: str) -> str:
        """For `PREWHERE`: rows that match and arrived by then, and fulfil these terms."""
        return " AND ".join([self.of_job, f"arrival <= {arrival}", self.matching, *terms])


def condition(shard: Shard, number: int, state: JobState, query: SnapshotQuery) -> Condition:
    """What a query asks of the job's snapshots."""
    after = 0 if query.after is None else min(max(int(query.after), 0), _UINT64_MAX)
    found = [
        *_bounds("step", query.global_step_from, query.global_step_to),
        *_bounds("logged_at", query.logged_at_from, query.logged_at_to),
        *_attempts(state, query),
    ]
    untold = _untold_attempts(state)
    if query.keys and not keeps_every_row(query.keys):
        known = _shapes(shard, number, state)
        wanted = matcher(query.keys)
        shapes = [shape for shape, keys in known.items() if any(map(wanted, keys))]
        found.append(f"shape IN {one_of(shapes, 'UInt64')}" if shapes else NOTHING)
        untold.append(f"shape NOT IN {one_of(known, 'UInt64')}" if known else "1")
    void = tuple(state.void)
    return Condition(number, state.born, void, after, tuple(found), " OR ".join(untold))


def but(ranges: Iterable[tuple[int, int]]) -> str:
    """For the end of a condition: without these arrivals, each from a first to a last."""
    return "".join(f" AND NOT (arrival BETWEEN {low} AND {high})" for low, high in ranges)


def one_of(numbers: Iterable[int], kind: str) -> str:
    """For the right of `IN`: numbers of a type of ClickHouse's, however many.

    They stand in one text, since a statement may have but so many parts.
    """
    return f"(SELECT to{kind}(arrayJoin(splitByChar(',', '{','.join(map(str, numbers))}'))))"


def _bounds(column: str, low: int | None, high: int | None) -> list[str]:
    """Steps and times are from 0 to 2**63 - 1; bounds may be any number."""
    found = []
    if low is not None and low > 0:
        found.append(f"{column} >= {low}" if low <= INT64_MAX else NOTHING)
    if high is not None and high < INT64_MAX:
        found.append(f"{column} <= {high}" if high >= 0 else NOTHING)
    return found


def _attempts(state: JobState, query: SnapshotQuery) -> list[str]:
    if query.attempt == "all":
        return []
    if query.attempt is not None:
        possible = 0 <= query.attempt <= _UINT32_MAX
        return [f"attempt = {query.attempt}" if possible else NOTHING]
    cutoffs = _cutoffs(state)
    if not cutoffs:
        return []
    last, highest = cutoffs[-1]
    cases = "".join(f"attempt <= {attempt}, {step}, " for attempt, step in cutoffs[:-1])
    cutoff = f"multiIf({cases}{highest})" if cases else str(highest)
    return [f"(attempt > {last} OR step < {cutoff})"]


def _cutoffs(state: JobState) -> list[tuple[int, int]]:
    """For runs of attempts with one cutoff, the last of them and the cutoff; both ascend."""
    found: list[tuple[int, int]] = []
    for number in sorted(state.attempts, reverse=True):
        step = state.attempts[number].attempt.first_step
        if number > 1 and step is not None and (not found or step < found[-1][1]):
            found.append((number - 1, step))
    return found[::-1]


def _untold_attempts(state: JobState) -> list[str]:
    """Train rows with which an attempt supersedes more than the state tells."""
    found = [f"attempt > {max(state.attempts, default=1)}"]
    for number, opened in state.attempts.items():
        first = opened.attempt.first_step
        if number > 1:
            lower = "" if first is None else f" AND step < {first}"
            found.append(f"attempt = {number} AND kind = 0{lower}")
    return found


def _shapes(shard: Shard, number: int, state: JobState) -> dict[int, list[str]]:
    """The key sets on record."""
    found = shard.records(f"kind = {Kind.SHAPE:d} AND job = {number} AND version > {state.born}")
    return {int(each.id, 16): msgspec.json.decode(each.body, type=list[str]) for each in found}
