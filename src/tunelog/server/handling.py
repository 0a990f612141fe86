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
    except TunelogError as error:
        if isinstance(error, StoreError):
            log({"error": error.message, "operation": operation})
        return error_response(error)
    except ClientDisconnect:
        return status_response(400, "the body ended before it was whole")
    except BodyStalled as error:
        return status_response(408, str(error), {"Connection": "close"})
    except Exception:
        log({"error": traceback.format_exc(), "operation": operation})
        message = f"Internal server error: {operation} failed."
        return status_response(500, message, {"x-should-retry": "false"})
