"""Connections to one server, kept open from one request to the next.

By the standard library's client: what ClickHouse 18.16 answers comes in chunks of 4 KB, and each
costs httpx2 five times as much. With it, a full read took longer to receive than to make.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlencode, urlsplit

import httpx2

CONNECT_SECONDS: Final = 2.0

LOOK_SECONDS: Final = 2.0
"""Whoever has waited so long for an answer looks whether the server is still there."""

PING_SECONDS: Final = 2.0
"""A server that is there says so within so long, whatever else it does."""

MOST_IDLE: Final = 16
"""So many connections are kept that nobody uses."""


class Connections:
    """Connections to one server; may be used from any thread."""

    def __init__(self, origin: str, headers: Mapping[str, str]) -> None:
        """`origin` is `http://host:port`; `headers` go with every request."""
        place = urlsplit(origin)
        self._host, self._port = place.hostname or "", place.port
        self._context = httpx2.create_ssl_context() if place.scheme == "https" else None
        self._headers = dict(headers)
        self._idle: deque[HTTPConnection] = deque()
        self._is_closed = False

    @contextmanager
    def post(
        self, parameters: Mapping[str, str | int | float], body: bytes, seconds: float
    ) -> Iterator[HTTPResponse]:
        """The answer to a request; the connection is closed unless all of it is read.

        Raises:
            OSError, HTTPException: there is no answer, or none for so many seconds, or the server
                hangs.
        """
        connection = self._take() or self._connect()
        try:
            connection.sock.settimeout(seconds)
            connection.request("POST", "/?" + urlencode(parameters), body, self._headers)
            self._wait(connection.sock, seconds)
            response = connection.getresponse()
            yield response
            if response.isclosed() and connection.sock and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                if self._is_closed:
                    self.close()
                return
        except BaseException:
            connection.close()
            raise
        connection.close()

    def close(self) -> None:
        """Close those that nobody uses, and the others as soon as that is so."""
        self._is_closed = True
        while connection := self._take():
            connection.close()

    def ping(self) -> None:
        """Have the server say that it is there; raises what `post` raises."""
        with closing(self._new(PING_SECONDS)) as connection:
            connection.request("GET", "/ping")
            connection.getresponse().read()

    def local_address(self) -> str:
        """The address of this machine's by which the server is reached; raises `OSError`."""
        with closing(self._connect()) as connection:
            address: str = connection.sock.getsockname()[0]
            return address

    def _wait(self, sock: socket.socket, seconds: float) -> None:
        """Wait for an answer to begin, as long as the server is there."""
        end = time.monotonic() + seconds
        while not _has_something(sock, min(seconds, LOOK_SECONDS)):
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer in {seconds:.3g} s")
            self.ping()

    def _connect(self) -> HTTPConnection:
        made = self._new(CONNECT_SECONDS)
        made.connect()
        return made

    def _new(self, seconds: float) -> HTTPConnection:
        if self._context is None:
            return HTTPConnection(self._host, self._port, timeout=seconds)
        return HTTPSConnection(self._host, self._port, timeout=seconds, context=self._context)

    def _take(self) -> HTTPConnection | None:
        """An idle connection that the server has not closed."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if not _has_something(connection.sock, 0):
                    return connection
                connection.close()
        return None


def _has_something(sock: socket.socket, seconds: float) -> bool:
    """Whether there is something to be read, or the other end has hung up, within so long."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
