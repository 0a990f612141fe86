"""Where a process takes the blocks of others: a small HTTP server, asked as ClickHouse's own is.

Whoever knows its secret, which lies in the store, may have a block written there, and do nothing
else.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from tunelog.errors import StoreError

MOST_BYTES: Final = 1 << 20
"""So large a block is taken; a larger one would gain nothing by company."""

IDLE_SECONDS: Final = 60.0
"""A connection on which nothing comes for so long is closed."""

SECRET: Final = "X-Tunelog-Secret"
"""The header that bears the secret."""


Table = Literal["snapshot", "record"]


class Asked(Struct, frozen=True, kw_only=True):
    """What is said of a block.

    Attributes:
        shard: its shard's place in the store's URL, from 0.
        table: which of the two it goes into.
        whose: the process that it is of.
        witness: a statement that counts one of its rows.
        again: whether that process will come again when it is told to.
    """

    shard: int
    table: Table
    whose: str
    witness: str
    again: bool


Take = Callable[[Asked, bytes], float]
"""Has a block written; in how many seconds to come again. Raises `StoreError`."""


class Reception:
    """The server, in threads of its own."""

    def __init__(self, host: str, secret: str, take: Take) -> None:
        """Listen at a port that is free, of this address of this machine's.

        Raises:
            OSError: one cannot listen there.
        """
        self._server = _Server(host, secret, take)
        name = f"[{host}]" if ":" in host else host
        self.origin = f"http://{name}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="tunelog-reception", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more connections; what came on those that there are is still written."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, secret: str, take: Take) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.secret, self.take = secret, take
        super().__init__((host, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1  # head and body go together

    def do_GET(self) -> None:
        """Say that somebody is there."""
        self._answer(HTTPStatus.OK, "Ok.")

    def do_POST(self) -> None:
        """Take a block."""
        if not hmac.compare_digest(self.headers.get(SECRET, ""), self.server.secret):
            return self._refuse(HTTPStatus.UNAUTHORIZED, "the secret is another")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no body, or too large a one")
        body = self.rfile.read(int(length))
        try:
            asked = msgspec.convert(dict(parse_qsl(urlsplit(self.path).query)), Asked, strict=False)
        except msgspec.ValidationError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        try:
            seconds = self.server.take(asked, body)
        except StoreError as error:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return self._answer(HTTPStatus.OK, str(seconds))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else comes on it is not to be understood
        self._answer(status, why)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Blocks are no requests of the service's."""
