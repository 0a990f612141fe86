"""What happens on a connection outside of any request: bytes that are none, and uvicorn's words."""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tunelog.errors import TunelogError
from tunelog.server.errors import status_response
from tunelog.server.observe import LogLine


class Connection(HttpToolsProtocol):
    """A connection that answers what is not HTTP with the one error body, too."""

    def send_400_response(self, msg: str) -> None:
        """Answer, unless another answer is half sent, and hang up."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            message = "this is not an HTTP/1.1 request"
            answer = status_response(400, message, {"Connection": "close"})
            head = [b"%b: %b\r\n" % header for header in answer.raw_headers]
            self.transport.write(
                b"".join([b"HTTP/1.1 400 Bad Request\r\n", *head, b"\r\n", bytes(answer.body)])
            )
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
