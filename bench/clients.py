"""HTTP clients that cost next to nothing: a socket, a C parser, no objects per answer."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import httptools

_RECEIVE = 1 << 18
TIMEOUT = 60.0


class Answer(NamedTuple):
    """A whole answer; `body` only if it was kept."""

    status: int
    size: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One keep-alive connection to this machine. Also the parser's callbacks (`on_…`)."""

    def __init__(self, port: int, *, keep: bool = False) -> None:
        """`keep`: hold on to bodies."""
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self._keep = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def ask(self, request: bytes, after: Callable[[int], None] | None = None) -> Answer:
        """Send a request and take the answer; `after` is called with each part's size."""
        self.send(request)
        while not self.receive(after):
            pass
        return self.answer

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._whole, self._size = False, 0
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self.socket.sendall(request)

    def receive(self, after: Callable[[int], None] | None = None) -> bool:
        """Take what has come, waiting for it; whether the answer is whole now."""
        data = self.socket.recv(_RECEIVE)
        if not data:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        self._parser.feed_data(data)
        if after is not None:
            after(len(data))
        return self._whole

    @property
    def answer(self) -> Answer:
        """The answer that was received last."""
        status = self._parser.get_status_code()
        return Answer(status, self._size, self._headers, b"".join(self._parts))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._keep:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        self._whole = True


def get(path: str, key: str = "", **headers: str) -> bytes:
    """A GET request."""
    return _request("GET", path, key, b"", headers)


def post(path: str, key: str, body: bytes) -> bytes:
    """A POST request with a JSON body."""
    headers = {"content_type": "application/json", "content_length": str(len(body))}
    return _request("POST", path, key, body, headers)


def _request(method: str, path: str, key: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: tunelog-bench"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed_loop(port: int, requests: Sequence[Sequence[bytes]], seconds: float) -> list[float]:
    """Each connection sends its requests one after another; answers the latencies.

    One connection for each sequence. Ends when all are answered, or after so many seconds.
    """
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        end = time.perf_counter() + seconds
        for mine in requests:
            _Turn(Connection(port), mine, selector, end, latencies).go_on()
        while selector.get_map():
            for key, _ in selector.select(TIMEOUT):
                key.data.arrived()
    return latencies


class _Turn:
    """One connection's way through its requests."""

    def __init__(
        self,
        connection: Connection,
        requests: Sequence[bytes],
        selector: selectors.BaseSelector,
        end: float,
        latencies: list[float],
    ) -> None:
        self._connection, self._requests = connection, iter(requests)
        self._selector, self._end, self._latencies = selector, end, latencies
        selector.register(connection.socket, selectors.EVENT_READ, self)

    def go_on(self) -> None:
        request = next(self._requests, None)
        self._begun = time.perf_counter()
        if request is None or self._begun > self._end:
            self._selector.unregister(self._connection.socket)
            self._connection.socket.close()
            return
        self._connection.send(request)

    def arrived(self) -> None:
        if not self._connection.receive():
            return
        self._latencies.append(time.perf_counter() - self._begun)
        answer = self._connection.answer
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")
        self.go_on()
