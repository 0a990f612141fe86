"""Errors as answers: one body for all, one table from type to status.

The body is the one that every published client shows well (sdk-contract, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from tunelog import errors
from tunelog.wire.catalog import encode

_TABLE: Mapping[type[errors.TunelogError], tuple[int, str, Mapping[str, str]]] = {
    errors.LimitExceeded: (413, "invalid_request_error", {}),
    errors.InvalidRequest: (400, "invalid_request_error", {}),
    errors.Unauthenticated: (401, "authentication_error", {"WWW-Authenticate": "Bearer"}),
    errors.Forbidden: (403, "permission_error", {}),
    errors.NotFound: (404, "not_found_error", {}),
    errors.Conflict: (409, "conflict_error", {"x-should-retry": "false"}),
    errors.StoreUnavailable: (503, "service_unavailable_error", {"Retry-After": "1"}),
    errors.StoreError: (500, "server_error", {"x-should-retry": "false"}),
    errors.TunelogError: (500, "server_error", {"x-should-retry": "false"}),
}


def error_body(message: str, kind: str, param: str | None = None) -> dict[str, object]:
    """The JSON of an error."""
    error = {"message": message, "type": kind, "param": param, "code": None}
    return {"error": error, "message": message}


def error_fields(error: errors.TunelogError) -> dict[str, object]:
    """The JSON of one of our errors."""
    _, kind, _ = _row(error)
    return error_body(error.message, kind, error.param)


def error_response(error: errors.TunelogError) -> Response:
    """The answer that one of our errors becomes."""
    status, _, headers = _row(error)
    return _response(status, error_fields(error), headers)


def status_response(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for a status that no error of ours stands for: unknown routes and methods."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return _response(status, error_body(message, kind), headers or {})


def _row(error: errors.TunelogError) -> tuple[int, str, Mapping[str, str]]:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def _response(status: int, fields: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    return Response(encode(fields), status, headers, "application/json")
