"""What happens on a connection beside what uvicorn does: small batches, and bytes that are no HTTP.

uvicorn reads the requests, one after another, and begins each when its head has come.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from typing import Any, cast

from starlette.types import Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from tunelog.errors import TunelogError
from tunelog.server.errors import status_response
from tunelog.server.observe import LogLine
from tunelog.server.small_batches import Headers, SmallBatches

MOST_HEAD_BYTES = 64 * 1024
"""Of a request's first line and headers, which have to be held whole."""

_Begun = tuple[RequestResponseCycle, Any]
"""A request, and the application that is to answer it."""


class Connection(HttpToolsProtocol):
    """A connection that answers small batches by itself, and what is not HTTP in our form."""

    _idle = True  # between two requests
    _head: int | None = None  # the bytes of a head that has not ended yet
    _begun = 0  # requests that began with the bytes that came last
    _post: _Begun | None = None  # what may be a small batch, until all that came has been read

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is a head that does not end."""
        was_idle, was_head, self._begun = self._idle, self._head is not None, 0
        super().data_received(data)
        self._go_on()
        is_head = self._begun == int(was_idle) and (was_idle or was_head)
        if self._head is not None and is_head:  # and all of the data is of this head
            self._head += len(data)
            if self._head > MOST_HEAD_BYTES and not self.transport.is_closing():
                message = f"the request's URL and headers exceed {MOST_HEAD_BYTES} bytes"
                self._hang_up(431, message)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._idle, self._head = False, 0
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is its body."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is the next one."""
        self._idle = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request that has come already is begun."""
        super().on_response_complete()
        self._go_on()

    # ------------------------------------------------------------ small batches

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request; one that may be a small batch when its body has been read."""
        scope = cycle.scope
        if scope["method"] == "POST" and scope["path"].endswith("/metrics") and app is self.app:
            self._post = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _go_on(self) -> None:
        if self._post is not None:
            (cycle, app), self._post = self._post, None
            is_free = not (cycle.more_body or self.flow.write_paused)  # else uvicorn waits
            if not (is_free and self._take(cycle)):
                super()._start_asgi_task(cycle, app)

    def _take(self, cycle: RequestResponseCycle) -> bool:
        small_batches: SmallBatches = self.app_state["small_batches"]
        scope = cast(Scope, cycle.scope)
        taken = small_batches.take(scope, bytes(cycle.body), partial(self._reply, cycle))
        if taken:
            self._look_behind_proxies(scope)
        return taken

    def _look_behind_proxies(self, scope: Scope) -> None:
        """Have the scope name the client that a trusted proxy calls for, as uvicorn does."""
        names = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if names and self.client and isinstance(self.app, ProxyHeadersMiddleware):
            trusted = self.app.trusted_hosts
            if self.client[0] in trusted:
                told = b", ".join(names).decode("latin-1")
                host, port = trusted.get_trusted_client_address(told)
                scope["client"] = (host, port) if host else self.client

    def _reply(
        self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes
    ) -> None:
        """Answer, in one piece, and go on to the next request."""
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        headers = [*self.server_state.default_headers, *headers]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        self.transport.write(_answer(status, headers, body))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    # ------------------------------------------------------------ what is no HTTP

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with the request, in the parser's words, and hang up."""
        reason = str(sys.exception() or msg).lower() or msg
        self._hang_up(400, f"this is not an HTTP/1.1 request that can be read here: {reason}")

    def _hang_up(self, status: int, message: str) -> None:
        """Answer, unless another answer is half sent, and close the connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            answer = status_response(status, message, {"Connection": "close"})
            self.transport.write(_answer(status, answer.raw_headers, bytes(answer.body)))
        self.transport.close()


def _answer(status: int, headers: Headers, body: bytes) -> bytes:
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


class LibraryWords(logging.Handler):
    """Warnings and errors of the libraries below, as log lines like our own."""

    def __init__(self, log: LogLine) -> None:
        """`log` takes the fields of a line."""
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; without the stack where it is no error of ours."""
        self._log({"level": record.levelname.lower(), "message": self._message(record)})

    def _message(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, TunelogError):
            return f"an answer was cut off: {error.message}"
        message = self.format(record).strip()
        if isinstance(error, asyncio.CancelledError) or message.endswith("CancelledError"):
            return "the stop was hurried, so not everything ended in its own time"
        return message
