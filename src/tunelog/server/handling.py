"""What becomes of whatever goes wrong while a request is answered."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tunelog.errors import StoreError, TunelogError
from tunelog.server.bodies import BodyStalled
from tunelog.server.errors import error_response, status_response
from tunelog.server.observe import LogLine


async def answered(
    request: Request, operation: str, log: LogLine, work: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer of `work`, or to the error that it raises; both are told of as `operation`'s."""
    request.state.operation = operation
    try:
        return await work()
    except Exception as error:
        return answer_to(error, operation, log)


def answer_to(error: BaseException, operation: str, log: LogLine) -> Response:
    """The answer to whatever an operation raised; what is not the caller's fault is logged."""
    if isinstance(error, TunelogError):
        if isinstance(error, StoreError):
            log({"error": error.message, "operation": operation})
        return error_response(error)
    if isinstance(error, ClientDisconnect):
        return status_response(400, "the body ended before it was whole")
    if isinstance(error, BodyStalled):
        return status_response(408, str(error), {"Connection": "close"})
    log({"error": "".join(traceback.format_exception(error)), "operation": operation})
    message = f"Internal server error: {operation} failed."
    return status_response(500, message, {"x-should-retry": "false"})
