"""What happens on a connection outside of any request: bytes that are none, and uvicorn's words."""

from __future__ import annotations

import asyncio
import logging
import sys

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tunelog.errors import TunelogError
from tunelog.server.errors import status_response
from tunelog.server.observe import LogLine

MOST_HEAD_BYTES = 64 * 1024
"""Of a request's first line and headers, which have to be held whole."""

_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """A connection that bounds the heads of requests, and answers what is not HTTP in our form."""

    _head: int | None = 0  # the bytes of the head that is being received, None in a body

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is a head that does not end."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD_BYTES and not self.transport.is_closing():
                message = f"the request's URL and headers exceed {MOST_HEAD_BYTES} bytes"
                self._hang_up(431, message)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is its body."""
        self._head = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with the request, in the parser's words, and hang up."""
        reason = str(sys.exception() or msg).lower() or msg
        self._hang_up(400, f"this is not an HTTP/1.1 request that can be read here: {reason}")

    def _hang_up(self, status: int, message: str) -> None:
        """Answer, unless another answer is half sent, and close the connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            answer = status_response(status, message, {"Connection": "close"})
            line = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS[status])
            head = [b"%b: %b\r\n" % header for header in answer.raw_headers]
            self.transport.write(b"".join([line, *head, b"\r\n", bytes(answer.body)]))
        self.transport.close()


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
