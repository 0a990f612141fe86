"""Implementations of the store's contract, and `open_backend`, which chooses one by its URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tunelog.errors import InvalidRequest
from tunelog.store import Backend


def open_backend(url: str, clock: Callable[[], int] = time.time_ns) -> Backend:
    """The backend of a store URL: `memory:`, `sqlite:///relative`, `sqlite:////absolute`, or
    `clickhouse://user:password@h1:8123,h2:8123/database?replicas=2`.

    Raises:
        InvalidRequest: no backend has such a URL.
        StoreUnusable: the store cannot be used as it stands.
        StoreUnavailable: it cannot be reached now.
    """
    if url == "memory:":
        from tunelog.backends.memory import MemoryBackend

        return MemoryBackend(clock)
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from tunelog.backends.sqlite import SqliteBackend

        return SqliteBackend(Path(url.removeprefix("sqlite:///")), clock)
    if is_clickhouse(url):
        from tunelog.backends.clickhouse import ClickHouseBackend

        return ClickHouseBackend(url, clock)
    raise InvalidRequest(
        f"store {shown(url)!r}: none of memory:, sqlite:///relative/path.db,"
        " sqlite:////absolute/path.db, clickhouse://user:password@host:8123/database"
    )


def migrate(url: str) -> str:
    """Bring a store to the newest layout, making it if it is not there; say what is there now.

    Raises what `open_backend` raises.
    """
    if is_clickhouse(url):
        from tunelog.backends.clickhouse import migrate as migrate_clickhouse

        return migrate_clickhouse(url)
    open_backend(url).close()  # which does it
    return "the newest layout"


def is_clickhouse(url: str) -> bool:
    """Whether a store URL is of a ClickHouse cluster."""
    return url.startswith(("clickhouse://", "clickhouses://"))


def shown(url: str) -> str:
    """A store URL as it may be printed: without its password."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at or ":" not in login:
        return url
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{place}"
