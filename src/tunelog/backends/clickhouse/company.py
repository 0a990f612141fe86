"""The lanes of a process, and the thread that looks for company.

It looks only while much is written; a process that writes little, or alone, takes no blocks of
others and asks nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tunelog.backends.clickhouse.lane import Lane, Receiver
from tunelog.backends.clickhouse.reception import Asked, Reception
from tunelog.backends.clickhouse.shard import Shard
from tunelog.errors import StoreError
from tunelog.ids import new_token

LOOK_SECONDS: Final = 3.0
"""So often a process that writes much looks who else does."""

_log = logging.getLogger(__name__)


class Company:
    """How one process writes, together with others.

    Attributes:
        lanes: one for each shard.
    """

    def __init__(self, shards: Sequence[Shard], *, alone: bool = False) -> None:
        """Write alone until there is company, or for ever."""
        self._wanted, self._closing = threading.Event(), threading.Event()
        me = new_token()
        self._alone = alone
        self.lanes = [Lane(shard, at, me, self._wanted.set) for at, shard in enumerate(shards)]
        self._mine = Receiver("", new_token())
        self._reception: Reception | None = None
        self._thread = threading.Thread(target=self._run, name="tunelog-company", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the company; the lanes have nothing more to write."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()
        if self._reception:
            self._reception.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._wanted.clear()
            for lane in self.lanes:
                if lane.is_busy and not self._alone and not self._closing.is_set():
                    self._look(lane)
            self._closing.wait(LOOK_SECONDS)
        for lane in self.lanes:
            with suppress(StoreError):
                lane.leave()

    def _look(self, lane: Lane) -> None:
        try:
            if self._reception is None:
                host = lane.shard.local_address()
                self._reception = Reception(host, self._mine.secret, self._take)
                self._mine = Receiver(self._reception.origin, self._mine.secret)
            lane.look(self._mine)
        except (OSError, StoreError) as error:
            _log.debug("looking who else writes: %s", error)

    def _take(self, asked: Asked, body: bytes) -> float:
        """A block of another process; in how many seconds it is to come again."""
        return self.lanes[asked.shard].write(asked, body) - time.monotonic()
