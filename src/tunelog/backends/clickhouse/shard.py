"""The servers that hold one shard: writing so that two of them have it, reading what they have.

What is acknowledged is on two replicas (on one, where a shard has but one). So whoever asks all
replicas but one is sure to meet it; with two replicas, that is any of them.

A modern server keeps that promise itself (`insert_quorum`). ClickHouse 18.16 cannot while a replica
is away and others write, so there the service looks for itself: it inserts on one replica and asks
for a row of the block, the *witness*, until two show it. (One INSERT is one block, and a block is
there whole or not at all.) A retry is the identical block, which ClickHouse stores once; if the
only copy lies on a server that died, that very rule would refuse the retry, and so the block is
forced after a while. What then lies there twice, `arrival` and `version` tell apart.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from tunelog.backends.clickhouse import records
from tunelog.backends.clickhouse.node import Node, NodeDown, NodeError, Setting
from tunelog.backends.clickhouse.records import Record
from tunelog.errors import StoreUnavailable, StoreUnusable

WRITE_SECONDS: Final = 10.0
"""A write that is not on two replicas after so long has failed."""

FORCE_SECONDS: Final = 1.5
"""So long a second copy is waited for before the block is inserted anew."""

MOST_LAG: Final = 0.1
"""A second copy is looked for after so long at the latest."""

REST_SECONDS: Final = 30.0
"""So long a server that could not be reached is asked last, if it does not answer in between: one
that hangs costs whoever asks it all the time that an answer may take."""

PARALLEL_QUORUM: Final = (21, 1)
"""From this version on, writers need not take turns for a quorum (`insert_quorum_parallel`)."""

_LOGIN_CODES: Final = frozenset({192, 193, 194, 497, 516})
_MISSING_CODES: Final = frozenset({60, 81})

Answer = TypeVar("Answer")

Copy = Callable[[Sequence[bytes]], None]
"""Told answers of replicas that differ, has each get what it lacks."""


class Shard:
    """The replicas of one shard; may be used from any thread."""

    def __init__(self, nodes: Sequence[Node], first: int = 0) -> None:
        """`first` is the replica to turn to as long as it is well."""
        self.nodes = nodes
        self._order = [*nodes[first % len(nodes) :], *nodes[: first % len(nodes)]]
        self._down: dict[Node, float] = {}
        self._lag = 0.005

    @property
    def copies(self) -> int:
        """On how many replicas a write is when it is acknowledged."""
        return min(2, len(self.nodes))

    # ------------------------------------------------------------ reading

    def select(self, sql: str) -> bytes:
        """A statement's whole answer, by the first replica that gives one."""
        return self._ask(1, lambda node: node.query(sql))[0]

    def records(self, where: str) -> list[Record]:
        """The records of a condition; none that was acknowledged is missed."""
        return records.newest(self._told(records.select(where)))

    def record(self, where: str) -> Record | None:
        """The record of a condition that holds for one name only, if there is one."""
        found = itertools.chain.from_iterable(self._told(records.select_all(where)))
        return max(found, key=lambda record: record.version, default=None)

    def _told(self, sql: str) -> list[list[Record]]:
        """What as many replicas give as hold all that was acknowledged."""
        return self._ask(self._enough, lambda node: records.decode(node.query(sql)))

    def versions(self, where: str) -> dict[int, int]:
        """The greatest version of the records of a condition, by job."""
        sql = f"SELECT job, max(version) FROM record WHERE {where} GROUP BY job"
        found: dict[int, int] = {}
        for answer in self._ask(self._enough, lambda node: node.query(sql)):
            for line in answer.splitlines():
                job, version = map(int, line.split())
                found[job] = max(version, found.get(job, 0))
        return found

    def agreed(self, sql: str, copy: Copy | None = None) -> bytes:
        """An answer that as many replicas give as a write must be on.

        What is in it will not be lost, though it may never have been acknowledged.

        Args:
            sql: the statement.
            copy: what to do if replication does not make them alike for long.

        Raises:
            StoreUnavailable: they go on giving different ones.
        """
        end = time.monotonic() + WRITE_SECONDS
        patience = time.monotonic() + FORCE_SECONDS
        for nap in _naps():
            answers = self._votes(sql)
            answer, votes = Counter(answers).most_common(1)[0]
            if votes >= self._quorum:
                return answer
            now = time.monotonic()
            if now > end:
                break
            if copy and now > patience:
                copy(answers)
                patience = time.monotonic() + FORCE_SECONDS
            time.sleep(nap)
        raise StoreUnavailable("ClickHouse: the replicas of the shard do not agree")

    def _votes(self, sql: str) -> list[bytes]:
        """What enough replicas answer; if that differs, what all that are well do."""
        answers = self._ask(self._quorum, lambda node: node.query(sql))
        well = len(self._well())
        if len(set(answers)) == 1 or well <= len(answers):
            return answers
        return self._ask(well, lambda node: node.query(sql))

    @property
    def _quorum(self) -> int:
        """Where so many replicas say the same, it holds all that was acknowledged, and is safe."""
        return max(self.copies, self._enough)

    def replicas(self, ask: Callable[[Node], Answer]) -> dict[Node, Answer]:
        """What each of as many replicas answers as hold all that was acknowledged, and is safe."""
        return dict(self._ask(self._quorum, lambda node: (node, ask(node))))

    @contextmanager
    def watched(self, node: Node) -> Iterator[None]:
        """What happens to a replica, or what it refuses, as an error of the store."""
        try:
            yield
        except (NodeDown, NodeError) as error:
            self._failed(node, error)
            raise StoreUnavailable(f"ClickHouse: {error}") from None

    def complete(self, fingerprint: str, members: str, ask: Callable[[Node], Answer]) -> Answer:
        """What the first replica answers that has all that was acknowledged, and can.

        With one or two replicas, any has all. With more, as many are asked as are sure to hold it
        together, until one has what each of the others has.

        Args:
            fingerprint: a statement that gives the same wherever the same rows are.
            members: a statement that gives a number for each row, the same for what is the same.
            ask: asks a replica.
        """
        if self._enough == 1:
            return self._ask(1, ask)[0]
        end = time.monotonic() + WRITE_SECONDS
        for nap in _naps():
            told = self._ask(self._enough, lambda node: (node, node.query(fingerprint)))
            for node in self._with_all(dict(told), members):
                with suppress(NodeDown, NodeError):
                    return self._tried(node, ask)
            if time.monotonic() > end:
                break
            time.sleep(nap)
        raise StoreUnavailable("ClickHouse: no replica of the shard has all that the others have")

    def _with_all(self, fingerprints: Mapping[Node, bytes], members: str) -> list[Node]:
        if len(set(fingerprints.values())) == 1:
            return list(fingerprints)
        found: dict[Node, frozenset[bytes]] = {}
        for node in fingerprints:
            with suppress(NodeDown, NodeError):
                found[node] = self._tried(node, lambda n: frozenset(n.query(members).split()))
        if len(found) < len(fingerprints):
            return []
        everything = frozenset().union(*found.values())
        return [node for node, its in found.items() if its == everything]

    def _tried(self, node: Node, ask: Callable[[Node], Answer]) -> Answer:
        try:
            answer = ask(node)
        except (NodeDown, NodeError) as error:
            self._failed(node, error)
            raise
        self._down.pop(node, None)
        return answer

    @property
    def _enough(self) -> int:
        """So many replicas hold all that was acknowledged."""
        return max(1, len(self.nodes) - 1)

    def _ask(self, wanted: int, ask: Callable[[Node], Answer]) -> list[Answer]:
        answers: list[Answer] = []
        last: Exception | None = None
        for node in self._in_order():
            try:
                answers.append(self._tried(node, ask))
            except (NodeDown, NodeError) as error:
                last = error
            if len(answers) == wanted:
                return answers
        if isinstance(last, NodeError):
            refuse_if_hopeless(last)
        raise StoreUnavailable(f"ClickHouse: {last}")

    def _in_order(self) -> list[Node]:
        """The replicas, those at the end that did not answer."""
        well = self._well()
        return [*well, *(node for node in self._order if node not in well)]

    def _well(self) -> list[Node]:
        return [node for node in self._order if node not in self._down or self._is_back(node)]

    def _is_back(self, node: Node) -> bool:
        """Whether a replica that did not answer does now; it is asked when it has rested."""
        now = time.monotonic()
        if self._down.get(node, now) > now:
            return False
        self._down[node] = now + REST_SECONDS
        with suppress(NodeDown):
            node.ping()
            self._down.pop(node, None)
            return True
        return False

    def _failed(self, node: Node, error: Exception) -> None:
        if isinstance(error, NodeDown):
            self._down[node] = time.monotonic() + REST_SECONDS

    def local_address(self) -> str:
        """The address of this machine's by which a replica is reached."""
        return self._ask(1, Node.local_address)[0]

    # ------------------------------------------------------------ writing

    def insert(self, sql: str, body: bytes, witness: str, *, anew: bool = False) -> None:
        """Insert one block; it is on as many replicas as `copies` says when this returns.

        Args:
            sql: `INSERT INTO … FORMAT RowBinary`.
            body: the rows, at most a million; unlike any block before, the same in every try.
            witness: counts, as a statement, a row of the block that is not in the table before.
            anew: somebody may have inserted it already, of whom nobody knows.

        Raises:
            StoreUnavailable: it is not, and nobody knows whether it will be.
        """
        if self.copies == 1:
            self._ask(1, lambda node: node.insert(sql, body))
        elif self._ask(1, lambda node: node.version)[0] >= PARALLEL_QUORUM:
            quorum: dict[str, Setting] = {
                "insert_quorum": self.copies,
                "insert_quorum_parallel": 1,
                "insert_quorum_timeout": int(WRITE_SECONDS * 1000),
            }
            self._ask(1, lambda node: node.insert(sql, body, **quorum))
        else:
            self._insert_and_look(sql, body, witness, anew)

    def keep(self, told: Sequence[Record], *, anew: bool = False) -> None:
        """Write records, together, as `insert` does; raises what it raises."""
        self.insert(records.INSERT, records.encode(told), records.witness(told[-1]), anew=anew)

    def _insert_and_look(self, sql: str, body: bytes, witness: str, anew: bool) -> None:
        end = time.monotonic() + WRITE_SECONDS
        last: Exception | None = None
        first, forced = not anew, False
        for node in itertools.chain.from_iterable(self._in_order() for _ in itertools.count()):
            try:
                node.insert(sql, body, insert_deduplicate=int(not forced))
                seen = {node} if first else set()  # a retry may be taken for stored elsewhere
            except (NodeDown, NodeError) as error:
                self._failed(node, error)
                last = error
                time.sleep(0.02)
            else:
                if self._seen_twice(witness, seen, min(end, time.monotonic() + FORCE_SECONDS)):
                    return
                forced = True
            first = False
            if time.monotonic() > end:
                why = last or "only one replica has it"
                raise StoreUnavailable(f"ClickHouse: not written to two replicas: {why}")

    def _seen_twice(self, witness: str, seen: set[Node], end: float) -> bool:
        """Whether as many replicas as `copies` show the witness until then; `seen` have it."""
        began = time.monotonic()
        for nap in itertools.chain([self._lag], _naps()):
            time.sleep(nap)
            well = self._well()
            for node in well if len(well) >= self.copies else self._in_order():
                if node not in seen and self._shows(node, witness):
                    seen.add(node)
                if len(seen) >= self.copies:
                    self._expect(time.monotonic() - began, at_once=nap == self._lag)
                    return True
            if time.monotonic() > end:
                return False
        return False

    def _expect(self, seconds: float, *, at_once: bool) -> None:
        """Look next time when a copy should be there: a little earlier, if it was at once."""
        self._lag = self._lag * 0.9 if at_once else min((self._lag + seconds) / 2, MOST_LAG)

    def _shows(self, node: Node, witness: str) -> bool:
        try:
            return int(node.query(witness)) > 0
        except (NodeDown, NodeError) as error:
            self._failed(node, error)
            return False

    def close(self) -> None:
        """Let go of every connection."""
        for node in self.nodes:
            node.close()


def refuse_if_hopeless(error: NodeError) -> None:
    """Raise `StoreUnusable` for what trying again does not mend: a wrong login, no tables."""
    if error.code in _LOGIN_CODES:
        raise StoreUnusable(f"ClickHouse at {error}") from None
    if error.code in _MISSING_CODES:
        raise StoreUnusable(
            f"ClickHouse at {error}; `tunelog migrate --store URL` makes database and tables"
        ) from None


def _naps() -> Iterator[float]:
    """How long to wait between two looks: from 2 ms, half as much longer each time, to 50 ms."""
    nap = 0.002
    while True:
        yield nap
        nap = min(nap * 1.5, 0.05)
