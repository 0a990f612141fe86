"""Which of several processes writes a shard's blocks for all, and how the others reach it.

A process that writes much says so in the shard: where it takes blocks of others (`reception`), and
the secret that goes with them. All look there from time to time, and hand what they have to the
same one: the first, by an order that is another in each shard, of those that said so lately and
answer.

Nothing depends on it but how many blocks there are. Where processes are of different opinions,
several write. Whoever gets no answer writes by itself, and does not know then whether the other
did; the same rows twice are one snapshot to whoever reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

import msgspec
from msgspec import Struct

from tunelog.backends.clickhouse import records, rows
from tunelog.backends.clickhouse.connections import Connections
from tunelog.backends.clickhouse.reception import MOST_BYTES, SECRET, Asked, Table
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import WRITE_SECONDS, Shard
from tunelog.backends.clickhouse.together import Moment, Together
from tunelog.errors import StoreUnavailable

TELL_SECONDS: Final = 10.0
"""So often it says that it does."""

SILENT_SECONDS: Final = 30.0
"""Who has not said so for so long does not any more."""

REST_SECONDS: Final = 30.0
"""One that did not answer is not asked for so long."""

INSERTS: Final[Mapping[Table, str]] = {"snapshot": rows.INSERT, "record": records.INSERT}

_log = logging.getLogger(__name__)


class Receiver(Struct, frozen=True):
    """What a process says of itself.

    Attributes:
        origin: where it takes blocks of others; empty if it writes no more.
        secret: what has to go with them.
    """

    origin: str
    secret: str


class Lane:
    """How this process writes one shard: by itself, or by way of another."""

    def __init__(self, shard: Shard, place: int, me: str, wake: Callable[[], None]) -> None:
        """`place` is the shard's in the store's URL; `wake` has somebody look for company."""
        self.shard, self.place = shard, place
        self._me, self._wake = me, wake
        self._together = {
            table: Together(partial(shard.insert, sql)) for table, sql in INSERTS.items()
        }
        self._other: _Other | None = None
        self._resting: dict[str, float] = {}
        self._told = 0.0
        self.is_busy = False

    @property
    def other(self) -> str | None:
        """Where the process takes blocks that writes for this one; None if this one does."""
        return None if self._other is None else self._other.origin

    def insert(self, table: Table, body: bytes, witness: str, *, again: bool) -> Moment:
        """Write a block; returns when it is on record, with the time to come again.

        Args:
            table: `snapshot` or `record`.
            body, witness: as `Shard.insert` takes them.
            again: whether this process will come again then.

        Raises:
            StoreUnavailable: it is not, and nobody knows whether it will be.
        """
        if again and not self.is_busy:
            self.is_busy = True
            self._wake()
        asked = Asked(shard=self.place, table=table, whose=self._me, witness=witness, again=again)
        other = self._other
        if other is None or len(body) > MOST_BYTES:
            return self.write(asked, body)
        return self._write_by(other, asked, body)

    def keep(self, told: Sequence[Record]) -> Moment:
        """Write records, together, as `insert` does; this process may not come again."""
        return self.insert("record", records.encode(told), records.witness(told[-1]), again=False)

    def _write_by(self, other: _Other, asked: Asked, body: bytes) -> Moment:
        """Have another write, or write if that gives no answer."""
        began = time.monotonic()
        try:
            seconds = other.write(asked, body)
        except StoreUnavailable as error:  # of the servers; perhaps they can be reached from here
            self._leave(other, error)
            raise
        except (OSError, HTTPException) as error:
            self._leave(other, error)
            if time.monotonic() - began >= WRITE_SECONDS:
                raise StoreUnavailable(f"ClickHouse: no answer of {other.origin}") from None
            self.shard.insert(INSERTS[asked.table], body, asked.witness, anew=True)
            return time.monotonic()
        return time.monotonic() + seconds

    def write(self, asked: Asked, body: bytes) -> Moment:
        """Write a block of this process's or another's, together with what else there is."""
        return self._together[asked.table].write(
            asked.whose, body, asked.witness, again=asked.again
        )

    # ------------------------------------------------------------ company

    def look(self, mine: Receiver) -> None:
        """Say that this process writes, and see who is to write for all."""
        self.is_busy = False
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS or not self._told:
            self._tell(mine)
            self._told = now
        receivers = self._receivers()
        for name in sorted(receivers, key=lambda name: records.number(str(self.place), name)):
            if name == self._me:
                break
            if self._resting.get(name, 0.0) <= now and self._turn_to(name, receivers[name]):
                return
        self._turn_to_none()

    def leave(self) -> None:
        """Say that this process writes no more, unless others have taken it so for long."""
        self._turn_to_none()
        if self._told and time.monotonic() - self._told < SILENT_SECONDS:
            self._tell(Receiver("", ""))

    def _tell(self, receiver: Receiver) -> None:
        body = msgspec.json.encode(receiver)
        self.keep([Record(Kind.RECEIVER, 0, self._me, time.time_ns() // 1000, body)])

    def _receivers(self) -> dict[str, Receiver]:
        since = time.time_ns() // 1000 - int(SILENT_SECONDS * 1e6)
        found = self.shard.records(f"kind = {Kind.RECEIVER:d} AND job = 0 AND version > {since}")
        told = {each.id: msgspec.json.decode(each.body, type=Receiver) for each in found}
        return {name: receiver for name, receiver in told.items() if receiver.origin}

    def _turn_to(self, name: str, receiver: Receiver) -> bool:
        """Have another write from now on, if it answers."""
        if self._other is not None and self._other.name == name:
            return True
        other = _Other(name, receiver)
        try:
            other.ping()
        except (OSError, HTTPException) as error:
            self._leave(other, error)
            return False
        self._turn_to_none()
        self._other = other
        return True

    def _turn_to_none(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other.close()

    def _leave(self, other: _Other, error: Exception) -> None:
        _log.warning("writing without %s: %s", other.origin, error)
        self._resting[other.name] = time.monotonic() + REST_SECONDS
        if self._other is other:
            self._turn_to_none()


class _Other:
    """A process that writes blocks of others."""

    def __init__(self, name: str, receiver: Receiver) -> None:
        self.name, self.origin = name, receiver.origin
        self._connections = Connections(receiver.origin, {SECRET: receiver.secret})

    def ping(self) -> None:
        """Have it say that it is there."""
        self._connections.ping()

    def write(self, asked: Asked, body: bytes) -> float:
        """Have it write a block; in how many seconds to come again.

        Raises:
            StoreUnavailable: it could not.
            OSError, HTTPException: it does not say.
        """
        parameters = {**msgspec.structs.asdict(asked), "again": int(asked.again)}
        with self._connections.post(parameters, body, WRITE_SECONDS) as response:
            answer = response.read().decode(errors="replace")
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise StoreUnavailable(answer)
        if response.status != HTTPStatus.OK:
            raise HTTPException(f"{response.status} {answer}")
        return float(answer)

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()
