"""Whose a secret is, remembered for a second, so that requests do not wait to know.

What is in use is looked up anew beside the requests before that second is over. A key that somebody
else revoked is refused after a second at the latest all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from tunelog.access import Principal
from tunelog.errors import StoreError, Unauthenticated

REMEMBERED_SECONDS: Final = 1.0
AHEAD_SECONDS: Final = 0.6
"""What is used when it is remembered for no longer is looked up anew."""

SOON_SECONDS: Final = 0.05
"""What is remembered for no longer may be forgotten before it is asked for again."""

MOST_REMEMBERED: Final = 10_000

Find = Callable[[], Principal]


class Principals:
    """Principals by secret, or by another name that is none; may be used from any thread.

    Whoever asks for one says how to find it, which may raise `Unauthenticated`: that somebody is
    unknown is never remembered.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` tells the time in seconds since whenever."""
        self._now = now
        self._known: dict[str, tuple[float, Principal]] = {}
        self._ahead: set[str] = set()
        self._times_forgotten = 0
        self._lock = threading.Lock()
        self._looking = [threading.Lock() for _ in range(64)]
        self._aside = ThreadPoolExecutor(1, "tunelog-principals")

    def get(self, name: str, find: Find) -> Principal:
        """What `find` gives, or gave a moment ago.

        Of those that come at once one looks, and the rest wait for what it finds.
        """
        found = self._recalled(name, find)
        if found is None:
            with self._looking[hash(name) % len(self._looking)]:
                found = self._recalled(name, find) or self._look(name, find)
        return found

    def has(self, name: str, find: Find) -> bool:
        """Whether it is remembered, and will be for a while."""
        return self._recalled(name, find, SOON_SECONDS) is not None

    def forget(self) -> None:
        """Remember nothing, not even what is being looked up."""
        with self._lock:
            self._known.clear()
            self._times_forgotten += 1

    def close(self) -> None:
        """Look nothing up any more that nobody waits for."""
        self._aside.shutdown(cancel_futures=True)

    def _recalled(self, name: str, find: Find, least: float = 0.0) -> Principal | None:
        until, principal = self._known.get(name, (0.0, None))
        left = until - self._now()
        if principal is None or left <= least:
            return None
        if left <= AHEAD_SECONDS and name not in self._ahead:
            self._ahead.add(name)
            with suppress(RuntimeError):  # at its end
                self._aside.submit(self._look_ahead, name, find)
        return principal

    def _look_ahead(self, name: str, find: Find) -> None:
        try:
            self._look(name, find)
        except Unauthenticated:
            self._known.pop(name, None)
        except StoreError:
            pass  # whoever asks when it is forgotten is told
        finally:
            self._ahead.discard(name)

    def _look(self, name: str, find: Find) -> Principal:
        before, until = self._times_forgotten, self._now() + REMEMBERED_SECONDS
        found = find()
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            if before == self._times_forgotten:
                self._known[name] = until, found
        return found
