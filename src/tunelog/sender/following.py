"""Sending a directory of spools for as long as it is wanted: what is there, and what comes.

Whether a spool ends is decided with more patience than by one pass of `sync`. A copy of a spool has
no writer here that could hold its lock, and grows all the same, each time that it is copied again.
So a spool without a finish record is over only if its attempt was trained on this machine and its
lock is free; any other stays open until the record comes, or until a pass of `sync` ends it.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from tunelog.errors import StoreError, StoreUnusable, TunelogError
from tunelog.recorder.spool import STATE, list_spools, parse_name, writer_lives
from tunelog.recorder.state import StateFile, claim
from tunelog.sender.drain import Drain
from tunelog.sender.process import BEAT, BLOCKED_PAUSE, pause_after
from tunelog.sender.syncing import BUSY
from tunelog.store import Store

LOOK_EVERY = 1.0
"""Seconds between two looks at a directory where nothing was new."""


class News(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a spool.

    Attributes:
        spool: its path.
        state: "sent" to its end and removed, "open" and sent so far, "left" as it cannot be sent.
        reason: why it is left.
        snapshots: snapshots acknowledged, also before.
        rejected: records that the service refused, set aside beside the spool.
        damaged: parts of the spool that could not be read.
    """

    spool: str
    state: Literal["sent", "open", "left"]
    reason: str = ""
    snapshots: int = 0
    rejected: int = 0
    damaged: int = 0


class _Seen(NamedTuple):
    """A spool as it was when all of it was sent, and when that was."""

    inode: int
    size: int
    at: float


class Follower:
    """Sends what is in a directory, again and again."""

    def __init__(
        self,
        directory: str,
        store: Store,
        *,
        host: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`host` is this machine's name, if not the one that the system says."""
        self.away = ""
        self._directory = directory
        self._store = store
        self._host = host or os.uname().nodename
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}
        self._left: dict[str, float] = {}  # until when each is not tried again
        self._failures = 0
        self._pause = LOOK_EVERY

    def pending(self) -> int:
        """About how many bytes wait to be sent."""
        size = 0
        for path in self._spools():
            with contextlib.suppress(OSError):
                if self._is_due(path):
                    size += self._new_bytes(path)
        return size

    def look(self, sent: Callable[[int], None]) -> Iterator[News]:
        """Send everything that can be sent now; `sent` hears of each part, in bytes.

        If the service is away, `away` says why afterwards, and no more is tried in this look.
        """
        self._pause = LOOK_EVERY
        kept_back: set[str] = set()
        for path in self._spools():
            job_id = (parse_name(path) or ("",))[0]
            if job_id in kept_back:
                continue
            try:
                news = self._send(path, sent) if self._is_due(path) else None
            except StoreError as error:
                if not isinstance(error, StoreUnusable):
                    self._be_patient(error)
                    return
                news = self._leave(path, error.message)
            except FileNotFoundError:
                continue
            except (TunelogError, OSError) as error:
                news = self._leave(path, str(error))
            if path in self._left and not self._is_opened(path):
                kept_back.add(job_id)  # attempts are numbered in the order of their opening
            if news is not None:
                yield news

    def pause(self) -> float:
        """Seconds until the next look."""
        return self._pause

    def _spools(self) -> list[str]:
        try:
            return list_spools(self._directory)
        except FileNotFoundError:
            return []

    def _is_due(self, path: str) -> bool:
        """Whether there may be something to send of a spool, or to hear about its job."""
        now = self._monotonic()
        if now < self._left.get(path, 0.0):
            return False
        seen, is_now = self._seen.get(path), os.stat(path)
        if seen is None or (seen.inode, seen.size) != (is_now.st_ino, is_now.st_size):
            return True
        return now - seen.at >= BEAT

    def _is_opened(self, path: str) -> bool:
        """Whether the service knows the attempt of a spool that others send."""
        if not os.path.exists(path + STATE):
            return False
        with contextlib.closing(StateFile(path + STATE)) as state:
            return state.read().attempt > 0

    def _new_bytes(self, path: str) -> int:
        size = os.path.getsize(path)
        if not os.path.exists(path + STATE):
            return size
        with contextlib.closing(StateFile(path + STATE)) as state:
            acknowledged = state.read().acknowledged
        return size - acknowledged if acknowledged <= size else size

    def _send(self, path: str, sent: Callable[[int], None]) -> News | None:
        state = claim(path)
        if state is None:
            return self._leave(path, BUSY) if os.path.exists(path) else None
        before = os.stat(path)
        with (
            contextlib.closing(state),
            contextlib.closing(Drain(path, self._store, state)) as drain,
        ):
            lives = writer_lives(path)
            gone = lives is False and drain.host == self._host
            begin = drain.state.acknowledged
            while drain.send():
                sent(drain.state.acknowledged - begin)
                begin = drain.state.acknowledged
            self._failures, self.away = 0, ""
            self._left.pop(path, None)
            ends = gone or drain.finished
            if ends:
                drain.end()
                self._seen.pop(path, None)
            else:
                if lives:
                    drain.beat()
                self._seen[path] = _Seen(before.st_ino, before.st_size, self._monotonic())
            return News(
                spool=path,
                state="sent" if ends else "open",
                snapshots=drain.state.stored,
                rejected=drain.state.rejected,
                damaged=drain.state.damaged,
            )

    def _leave(self, path: str, reason: str) -> News:
        self._left[path] = self._monotonic() + BLOCKED_PAUSE
        return News(spool=path, state="left", reason=reason)

    def _be_patient(self, error: StoreError) -> None:
        self.away = error.message
        self._failures += 1
        self._pause = pause_after(
            self._failures, getattr(error, "retry_after", None), random.random()
        )
