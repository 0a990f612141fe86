"""The process beside a training: one spool, sent until nothing is left.

It goes on for as long as the training lives, however long the service is away; after the training's
end until all is sent, or until the service was away for ten minutes (TUNELOG_GIVE_UP_AFTER, in
seconds): the spool then stays, for the job's next attempt or `tunelog sync`.

Spools of the same job that an earlier process left behind are sent first, oldest first, because the
service numbers attempts in the order in which they are opened.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from tunelog.errors import StoreError, StoreUnusable, TunelogError, Unauthenticated
from tunelog.recorder.losses import say
from tunelog.recorder.spool import list_spools, parse_name, writer_lives
from tunelog.recorder.state import claim
from tunelog.sender.drain import Drain
from tunelog.store import Store

GIVE_UP_AFTER = 600.0
"""Seconds without a service after which a sender whose training is gone leaves its spool."""

POLL = 0.2
"""Seconds between two looks at a spool that has nothing new."""

BEAT = 15.0
"""Seconds after which the job's status is asked for, if no answer has told it meanwhile."""

LONGEST_PAUSE = 5.0
BLOCKED_PAUSE = 30.0
"""Seconds between two tries while the service does not let this sender in."""

_LONGEST_RETRY_AFTER = 300.0
_TIMEOUT = 30.0
_LEFT = 75  # EX_TEMPFAIL of sysexits.h


def pause_after(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait after so many failures in a row; `chance`, 0 to 1, spreads the senders."""
    pause = min(LONGEST_PAUSE, 0.1 * 2.0 ** min(failures, 10)) * (0.5 + chance / 2)
    return max(pause, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


class Sender:
    """Sends one spool, and before it what was left of the same job."""

    def __init__(
        self,
        spool: str,
        store: Store,
        *,
        give_up_after: float = GIVE_UP_AFTER,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`spool` is the file's path; `sleep` and `monotonic` are in seconds."""
        self._spool = os.path.abspath(spool)
        self._store = store
        self._give_up_after = give_up_after
        self._sleep = sleep
        self._monotonic = monotonic
        self._failures = 0
        self._last_success = self._heard_at = monotonic()
        self._alone_since = math.inf
        self._parent = os.getppid()
        self._said = ""

    def run(self) -> bool:
        """Send until nothing is left. False if it gave up before; the spool then stays."""
        return all(self._send(path) for path in [*earlier_spools(self._spool), self._spool])

    def _send(self, path: str) -> bool:
        """Send one spool. While nothing can be sent others may try: it is locked only meanwhile."""
        was_ours = False
        try:
            while True:
                state = claim(path)
                if state is not None:
                    was_ours = True
                    with (
                        contextlib.closing(state),
                        contextlib.closing(Drain(path, self._store, state)) as drain,
                    ):
                        pause = self._drain(drain)
                    if pause is None:
                        return True
                elif not os.path.exists(path) or (path == self._spool and not was_ours):
                    return True  # it is sent, or another sender's
                else:
                    pause = POLL
                if self._is_hopeless():
                    return False
                self._sleep(pause)
        except (StoreUnusable, OSError) as error:
            say(f"{path} cannot be sent: {error}")
            return path != self._spool

    def _drain(self, drain: Drain) -> float | None:
        """Send until nothing is left, or something fails: then the seconds to wait."""
        gone = False
        while True:
            try:
                while drain.send():
                    self._succeed(drain)
                if drain.finished or gone:
                    drain.end()
                    return None
                if self._monotonic() - self._heard_at >= BEAT:
                    drain.beat()
                    self._succeed(drain)
            except Exception as error:  # whatever it is: the spool is not given up for it
                return self._fail(drain, error)
            self._sleep(POLL)
            gone = self._has_gone(drain.spool)

    def _succeed(self, drain: Drain) -> None:
        self._failures = 0
        self._last_success = self._monotonic()
        self._said = ""
        if drain.heard:
            drain.heard = False
            self._heard_at = self._last_success

    def _fail(self, drain: Drain, error: Exception) -> float:
        """Say it once, and answer how long to wait."""
        is_away = isinstance(error, StoreError)
        words = error.message if isinstance(error, TunelogError) else repr(error)
        if words != self._said:
            self._said = words
            if not isinstance(error, TunelogError):
                traceback.print_exception(error)
            say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {type(error).__name__}: {words}")
        drain.fail(words, blocked=not is_away)
        if not is_away:
            return BLOCKED_PAUSE
        self._failures += 1
        retry_after = getattr(error, "retry_after", None)
        return pause_after(self._failures, retry_after, random.random())

    def _is_hopeless(self) -> bool:
        """Whether nobody waits for this sender, and it has tried for long enough."""
        if not self._has_gone(self._spool):
            return False
        now = self._monotonic()
        self._alone_since = min(self._alone_since, now)
        return now - max(self._alone_since, self._last_success) >= self._give_up_after

    def _has_gone(self, spool: str) -> bool:
        """Whether the training that writes a spool is gone."""
        lives = writer_lives(spool)
        if lives is None and spool == self._spool:  # no locks here, but it is this one's parent
            return os.getppid() != self._parent
        return lives is False


def earlier_spools(spool: str) -> list[str]:
    """Spools of the same job that were begun before, and whose writers are gone; oldest first."""
    folder, named = os.path.dirname(spool), parse_name(spool)
    if named is None:
        return []
    job_id, token = named
    return [
        path
        for path in list_spools(folder)
        if (other := parse_name(path)) and other[0] == job_id and other[1] < token
        if writer_lives(path) is False
    ]


def main() -> None:
    """Send the spool that the command line names; exit code 75 if it was left."""
    _close_inherited()
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tunelog.sender SPOOL")
    spool = os.path.abspath(sys.argv[1])
    from tunelog.backends.remote import RemoteStore
    from tunelog.config import DEFAULT_URL

    environment = os.environ
    try:
        api_key = environment.get("TUNELOG_API_KEY")
        if not api_key:
            raise Unauthenticated("TUNELOG_API_KEY is not set")
        url = environment.get("TUNELOG_URL") or DEFAULT_URL
        store = RemoteStore(url, api_key, timeout=_TIMEOUT)
    except TunelogError as error:
        _leave(spool, error)
    os.chdir("/")
    if not Sender(spool, store, give_up_after=_give_up_after()).run():
        sys.exit(_LEFT)


def _leave(spool: str, error: TunelogError) -> NoReturn:
    """End because the settings are wrong, and have the recorder say so."""
    state = claim(spool)
    if state is not None:
        state.write(state.read()._replace(blocked=True, error=error.message))
    sys.exit(f"tunelog: {error.message}")


def _give_up_after() -> float:
    given = os.environ.get("TUNELOG_GIVE_UP_AFTER") or str(GIVE_UP_AFTER)
    try:
        return float(given)
    except ValueError:
        say(f"TUNELOG_GIVE_UP_AFTER={given!r} is no number of seconds; it is ignored")
        return GIVE_UP_AFTER


def _close_inherited() -> None:
    """Close files that the training left open for its children.

    A socket among them, held until the last snapshot is sent, would keep the next training from
    listening on its port.
    """
    if os.path.isdir("/dev/fd"):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                if int(name) > 2:
                    os.close(int(name))
