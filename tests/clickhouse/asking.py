"""What a test asks a ClickHouse node itself, beside the backend, and the store's URL of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import httpx2


class QueryError(Exception):
    """A node's answer is an error, and these are its words."""


def ask(client: httpx2.Client, port: int, sql: str, data: bytes = b"", **settings: str) -> str:
    """What the node at a port answers; raises `QueryError` if that is an error."""
    answer = client.post(
        f"http://127.0.0.1:{port}/", params={"query": sql, **settings}, content=data
    )
    if answer.status_code != 200:
        raise QueryError(answer.text)
    return answer.text


def url_of(ports: Sequence[int], user: str, password: str, database: str, replicas: int = 1) -> str:
    """The store's URL of the nodes at these ports, shard by shard."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"clickhouse://{who}@{hosts}/{database}?replicas={replicas}"
