"""A real HTTP server in front of a service, which may pass on what it is asked, or not."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

REASON = "go away"
RETRY_AFTER = {429: "1", 503: "1"}
"""Seconds that these answers ask a client to wait."""


class Front:
    """Passes requests on to a service; set `answers`, `is_mute` or `delay` to have it do worse.

    Attributes:
        url: its address.
        answers: the status that everything is answered with, 0 to pass requests on.
        is_mute: take requests and never answer.
        delay: seconds that each request takes longer.
        did: how often it did what: a status, or "mute".
    """

    def __init__(self, url: str) -> None:
        """`url` is the service's."""
        self.answers = 0
        self.is_mute = False
        self.delay = 0.0
        self.did: Counter[int | str] = Counter()
        self._behind = urlsplit(url).netloc
        self._server = _Listening(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._voice = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.recover()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def recover(self) -> None:
        """Pass everything on from here on; those that were never answered are hung up on."""
        self.answers, self.is_mute, self.delay = 0, False, 0.0
        self._voice.set()

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> _Answer | None:
        """What a request is answered with, None to hang up."""
        if self.is_mute:
            self.did["mute"] += 1
            self._voice.wait()
            return None
        if self.answers:
            self.did[self.answers] += 1
            return _Answer(self.answers, _error(self.answers), RETRY_AFTER.get(self.answers))
        time.sleep(self.delay)
        behind = http.client.HTTPConnection(self._behind, timeout=30)
        behind.request(method, path, body, {**headers, "Connection": "close"})
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        self.did[answer.status] += 1
        return _Answer(answer.status, content, answer.headers.get("Retry-After"))


class _Answer:
    def __init__(self, status: int, content: bytes, retry_after: str | None) -> None:
        self.status, self.content, self.retry_after = status, content, retry_after


class _Listening(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a request is no error here."""


def _error(status: int) -> bytes:
    """The body of an error of the service's, as long as it is not a proxy's."""
    return b'{"error": {"message": "%s", "type": "x", "param": null, "code": null}}' % (
        f"{REASON} ({status})".encode()
    )


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = {
                name: value
                for name, value in self.headers.items()
                if name.lower() in ("authorization", "content-type", "accept")
            }
            answer = front.answer(self.command, self.path, asked, body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            if answer.retry_after:
                self.send_header("Retry-After", answer.retry_after)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    return Handler
