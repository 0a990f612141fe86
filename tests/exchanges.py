"""Requests as no client library would send them, and the one body that every error has."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.serving import PATIENCE, Server

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    431: "invalid_request_error",
    503: "service_unavailable_error",
}


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """A bare connection to a server."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def received(connection: socket.socket, method: str = "GET") -> httpx2.Response:
    """The next answer on a connection, once it is whole."""
    with http.client.HTTPResponse(connection, method=method) as answer:
        answer.begin()
        return httpx2.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def exchange(server: Server, request: bytes) -> httpx2.Response:
    """The answer to these very bytes on a connection of their own."""
    with connected(server) as connection:
        connection.sendall(request)
        return received(connection, request.partition(b" ")[0].decode("latin-1"))


def head(server: Server, method: str, target: str, *headers: str) -> bytes:
    """A request's bytes up to its body."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: tunelog",
        f"Authorization: Bearer {server.api_key}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refused(
    answer: httpx2.Response,
    status: int,
    message: str,
    param: str | None = None,
    *,
    kind: str | None = None,
) -> None:
    """Holds that an answer is an error of this status, with the one body (sdk-contract 4)."""
    assert answer.headers["content-type"] == "application/json"
    error = {
        "message": message,
        "type": kind or TYPES[status],
        "param": param,
        "code": None,
    }
    assert (answer.status_code, answer.json()) == (status, {"error": error, "message": message})


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error of an answer, when only a part of its words is known beforehand."""
    error: dict[str, Any] = json.loads(answer.content)["error"]
    refused(answer, answer.status_code, error["message"], error["param"])
    assert error["message"]
    return error


def under_way(server: Server) -> int:
    """How many requests the server answers now, the one that asks among them."""
    numbers = httpx2.get(f"{server.url}/metrics", verify=False).text
    found = re.search(r"^tunelog_requests_under_way (\d+)\.0$", numbers, re.MULTILINE)
    assert found
    return int(found[1])
