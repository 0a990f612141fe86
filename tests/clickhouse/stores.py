"""Stores for tests, on servers that many tests share."""

from __future__ import annotations

import functools

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.modern import Modern
from tunelog.backends.clickhouse import migrate
from tunelog.ids import new_token

Servers = Cluster | Modern


def new_store(servers: Servers) -> str:
    """The URL of an empty store."""
    url = servers.url_of(database=f"tunelog_{new_token()}")
    migrate(url)
    return url


@functools.cache
def shared_store(servers: Servers) -> str:
    """The URL of the store on these servers in which each test has a project of its own.

    To make tables anew takes longer than most tests.
    """
    return new_store(servers)
