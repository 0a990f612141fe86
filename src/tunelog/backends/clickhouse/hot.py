"""Where the snapshots of jobs that are read again and again stand, kept in memory.

To number a million snapshots takes the engine most of a sampled read. So what matched a query is
remembered as an *order*: the places of its snapshots, one after another. Before each use the engine
is asked what arrived since, in the parts of the table that are new. So an order is right with any
number of processes that write, and it is only a matter of time, never of truth, whether there is
one.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping
from sys import intern
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from tunelog.backends.clickhouse.few import Place, few
from tunelog.backends.clickhouse.filters import Condition
from tunelog.backends.clickhouse.node import Node, NodeError
from tunelog.backends.clickhouse.planning import Moment, plan
from tunelog.backends.clickhouse.shard import Shard
from tunelog.model import AUTO_SEQ

MOST_PLACES: Final = 4_000_000
"""So many places of a shard's jobs are kept, of 24 bytes each."""

MOST_ORDERS: Final = 1_000
"""So many orders are kept, or known to be wanted."""

MOST_PARTS: Final = 200
"""So many parts are remembered for an order."""

Picked = TypeVar("Picked")

_PARTS: Final = 3
_WRITERS: Final = 2**32

_Key = tuple[int, int, tuple[tuple[int, int], ...], tuple[str, ...]]
"""What an order is of: a job, not one deleted of its id, and the filters."""


_Series = tuple[int, int, bool]
"""Attempt, writer, and whether the store gave the sequence numbers."""


class Places:
    """Places in order, three numbers each."""

    def __init__(self, packed: bytes = b"") -> None:
        self._numbers = array("q")
        self._numbers.frombytes(packed)

    def __len__(self) -> int:
        return len(self._numbers) // _PARTS

    def __getitem__(self, ordinal: int) -> Place:
        logged_at, series, seq = self._numbers[ordinal * _PARTS : (ordinal + 1) * _PARTS]
        return logged_at, *divmod(series, _WRITERS), seq

    def add(self, place: Place) -> int:
        """Take in a place, if it is not there; how many now come after it."""
        ordinal = len(self)
        if ordinal and self[-1 + ordinal] >= place:
            ordinal = bisect_left(range(ordinal), place, key=self.__getitem__)
            if self[ordinal] == place:
                return 0
        logged_at, attempt, writer, seq = place
        at = ordinal * _PARTS
        self._numbers[at:at] = array("q", [logged_at, attempt * _WRITERS + writer, seq])
        return len(self) - ordinal - 1


class Order:
    """The places of the snapshots that match, as far as they had arrived.

    Attributes:
        until: this far.
        train, eval: the places.
    """

    def __init__(self, moment: Moment) -> None:
        """Ask for every place."""
        self.until = moment.until
        self._seen: dict[str, Mapping[str, str]] = {}
        self._last = _last_seqs(moment)
        self.train = _load(moment, "kind = 0", moment.train)
        self.eval = _load(moment, "kind = 1", moment.eval)

    @property
    def size(self) -> int:
        """How many places it has."""
        return len(self.train) + len(self.eval)

    def refresh(self, node: Node, condition: Condition) -> bool:
        """Take in what arrived since; whether that could be done.

        Not if it was too much, or fills a gap, as it may be something that was there before then.
        """
        there = parts(node)
        before = self._seen.get(node.name, {})
        seen = [part for part, made in there.items() if before.get(part) == made]
        found = few(node, condition, self.until, seen)
        if found is None:
            return False
        for row in sorted(found.rows, key=lambda row: row.place[3]):
            _, attempt, writer, seq = row.place
            series = attempt, writer, seq >= AUTO_SEQ
            if seq <= self._last.get(series, -1):
                return False
            self._last[series] = seq
        for row in found.rows:
            (self.eval if row.kind else self.train).add(row.place)
        self.until = found.until
        if found.whole:
            self._seen[node.name] = there
        return True


def parts(node: Node) -> dict[str, str]:
    """The parts of the table of snapshots on a replica, and when each was made.

    What lies in a part never changes. So of those that were there before a look for what is new,
    nobody need look into any again. None are told where they are many, or not to be seen.
    """
    sql = (
        "SELECT name, modification_time FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table = 'snapshot'"
        f" LIMIT {MOST_PARTS + 1}"
    )
    try:
        answer = node.query(sql)
    except NodeError:  # not for this user to see: then all of the table is looked into
        return {}
    if answer.count(b"\n") > MOST_PARTS:
        return {}
    pairs = (line.partition("\t") for line in answer.decode().splitlines())
    return {intern(name): intern(made) for name, _, made in pairs}


def _last_seqs(moment: Moment) -> dict[_Series, int]:
    """The greatest sequence number of each series that there is."""
    answer = moment.node.query(
        f"SELECT attempt, writer, seq >= {AUTO_SEQ}, max(seq) FROM snapshot"
        f" WHERE {moment.condition.of_job} AND arrival <= {moment.until}"
        f" GROUP BY attempt, writer, seq >= {AUTO_SEQ}"
    )
    found = (map(int, line.split()) for line in answer.splitlines())
    return {(attempt, writer, bool(given)): seq for attempt, writer, given, seq in found}


def _load(moment: Moment, term: str, count: int) -> Places:
    if not count:
        return Places()
    columns = f"logged_at, toInt64(toInt64(attempt) * {_WRITERS} + writer), seq"
    return Places(moment.node.query(f"{moment.select(columns, term)} FORMAT RowBinary"))


class _Kept:
    """An order, or that one is wanted."""

    def __init__(self) -> None:
        self.order: Order | None = None
        self.lock = threading.Lock()

    @property
    def size(self) -> int:
        return 0 if self.order is None else self.order.size


class Orders:
    """The orders of a shard that were used last; may be used from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def want(self, condition: Condition) -> None:
        """An order would have been of use. The next time there will be one."""
        with self._lock:
            self._kept.setdefault(_key(condition), _Kept())
            self._trim()

    def use(
        self, node: Node, condition: Condition, pick: Callable[[Order], Picked]
    ) -> Picked | None:
        """What is picked from an order that has all that is there; None if there is no order."""
        key = _key(condition)
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
        with kept.lock:
            if kept.order is None or not kept.order.refresh(node, condition):
                kept.order = _order(node, condition)
            picked = None if kept.order is None else pick(kept.order)
        with self._lock:
            self._trim()
        return picked

    def forget(self, condition: Condition) -> None:
        """What an order told of was not there."""
        with self._lock:
            self._kept.pop(_key(condition), None)

    def _trim(self) -> None:
        size = sum(kept.size for kept in self._kept.values())
        while len(self._kept) > MOST_ORDERS or (size > MOST_PLACES and len(self._kept) > 1):
            size -= self._kept.popitem(last=False)[1].size


def _key(condition: Condition) -> _Key:
    return condition.number, condition.born, condition.void, condition.filters


def _order(node: Node, condition: Condition) -> Order | None:
    moment = plan(node, condition)
    if moment.repeated or moment.train + moment.eval > MOST_PLACES:
        return None
    return Order(moment)


_orders: WeakKeyDictionary[Shard, Orders] = WeakKeyDictionary()


def orders(shard: Shard) -> Orders:
    """The orders of a shard."""
    return _orders.setdefault(shard, Orders())
