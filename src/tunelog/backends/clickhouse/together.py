"""Blocks of several processes, written as one.

What a block costs the servers hardly depends on how much is in it: files to make, a part to fetch
for each other replica, entries in ZooKeeper, merges. So the processes that write a shard hand their
blocks to one of them (`company` says to which), and that one writes what has come as one block.

All are told when it will write again, and have their next blocks ready by then. A block is there
whole or not at all, so one row of it shows that all are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from tunelog.backends.clickhouse.pace import Pace

GATHER_SECONDS: Final = 0.05
"""So long after its time a block is held for those who said that they would come."""

MOST_BYTES: Final = 16 << 20
"""So many bytes go into a block, unless a single one has more: far fewer rows than a million."""

Moment = float
"""By `time.monotonic`."""


@dataclass(eq=False)
class _Block:
    """What one process wants written.

    Attributes:
        whose: the process.
        body, witness: as `Shard.insert` takes them.
        again: whether it will come again at the time that it is told.
        written: gets that time when the block is on record.
    """

    whose: str
    body: bytes
    witness: str
    again: bool
    written: Future[Moment] = field(default_factory=Future)


class Together:
    """Writes blocks of one table of one shard; may be used from any thread."""

    def __init__(self, insert: Callable[[bytes, str], None]) -> None:
        """`insert` writes a block of a body, with the witness of one of its rows."""
        self._insert = insert
        self._pace = Pace()
        self._next: Moment = 0.0
        self._waiting: deque[_Block] = deque()
        self._expected: set[str] = set()
        self._is_overdue = False
        self._is_writing = False
        self._changed = threading.Condition()

    def write(self, whose: str, body: bytes, witness: str, *, again: bool) -> Moment:
        """Have a block written; returns when it is, with the time at which to come again.

        One of those that wait writes for all.

        Raises:
            StoreUnavailable: it is not, and nobody knows whether it will be.
        """
        block = _Block(whose, body, witness, again)
        with self._changed:
            self._waiting.append(block)
            self._changed.notify_all()
        while self._is_mine_to_write(block):
            self._write(self._gathered())
        return block.written.result()

    def _is_mine_to_write(self, block: _Block) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: block.written.done() or not self._is_writing)
            if block.written.done():
                return False
            self._is_writing = True
            return True

    def _gathered(self) -> list[_Block]:
        """What has come, once all have who said that they would, or their time is over.

        What came too late for the block before has waited enough, and waits for nobody.
        """
        with self._changed:
            if not self._is_overdue and not self._all_came():
                wait = self._next + GATHER_SECONDS - time.monotonic()
                self._changed.wait_for(self._all_came, max(0.0, wait))
            found = [self._waiting.popleft()]
            size = len(found[0].body)
            while self._waiting and size + len(self._waiting[0].body) <= MOST_BYTES:
                found.append(self._waiting.popleft())
                size += len(found[-1].body)
            self._expected = {block.whose for block in found if block.again}
            return found

    def _all_came(self) -> bool:
        return self._expected <= {block.whose for block in self._waiting}

    def _write(self, blocks: list[_Block]) -> None:
        began = time.monotonic()
        error: BaseException | None = None
        try:
            self._insert(b"".join(block.body for block in blocks), blocks[-1].witness)
        except BaseException as raised:  # whose thread this is says nothing of whose block failed
            error = raised
        with self._changed:
            self._next = began + self._pace.after(time.monotonic() - began)
            for block in blocks:
                if error is None:
                    block.written.set_result(self._next)
                else:
                    block.written.set_exception(error)
            self._is_writing = False
            self._is_overdue = bool(self._waiting)
            self._changed.notify_all()
