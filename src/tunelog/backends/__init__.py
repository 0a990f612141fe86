"""Implementations of the store's contract, and `open_backend`, which chooses one by its URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tunelog.errors import InvalidRequest
from tunelog.store import Backend


def open_backend(url: str, clock: Callable[[], int] = time.time_ns) -> Backend:
    """The backend of a store URL: `memory:` or `sqlite:///relative` or `sqlite:////absolute`.

    Raises:
        InvalidRequest: no backend has such a URL.
        StoreUnusable: the store cannot be used as it stands.
    """
    if url == "memory:":
        from tunelog.backends.memory import MemoryBackend

        return MemoryBackend(clock)
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from tunelog.backends.sqlite import SqliteBackend

        return SqliteBackend(Path(url.removeprefix("sqlite:///")), clock)
    raise InvalidRequest(
        f"store {url!r}: none of memory:, sqlite:///relative/path.db, sqlite:////absolute/path.db"
    )
