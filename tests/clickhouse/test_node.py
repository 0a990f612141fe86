"""What a server is told beside a statement, which no answer of a real one shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from tunelog.backends.clickhouse.node import Node

INSERT = "INSERT INTO t FORMAT RowBinary"


@contextmanager
def server(version: str) -> Iterator[tuple[Node, list[dict[str, str]]]]:
    """A server that answers everything with its version, and the parameters that it was sent."""
    told: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(dict(parse_qsl(urlsplit(self.path).query)))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{version}\n".encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name above)
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever).start()
        node = Node(f"http://127.0.0.1:{http.server_port}", "default", "", "tunelog")
        yield node, told
        node.close()
        http.shutdown()


@pytest.mark.parametrize(
    ("version", "settings"),
    [("18.16.1", {}), ("21.10.2.15", {}), ("26.9.2.1", {"async_insert": "0"})],
)
def test_an_insert_is_a_block_of_its_own(version: str, settings: dict[str, str]) -> None:
    """Servers of our days would gather it with others; old ones do not know the word."""
    with server(version) as (node, told):
        node.insert(INSERT, b"\0")
        node.insert(INSERT, b"\0", insert_deduplicate=0)
    _, first, second = told
    assert first == {"database": "tunelog", "query": INSERT, **settings}
    assert second == {**first, "insert_deduplicate": "0"}
