"""Routes without a key: the contract, its page, health, and the service's numbers.

Nothing here holds a name of a project, job, key or metric.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tunelog.errors import StoreUnavailable, TunelogError
from tunelog.server.errors import error_response
from tunelog.server.numbers import Numbers
from tunelog.server.service import Service

Endpoint = Callable[[Request], Awaitable[Response]]

_SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@cache
def openapi() -> dict[str, Any]:
    """The contract, parsed."""
    import yaml

    spec: dict[str, Any] = yaml.load(
        _file("openapi.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return spec


@cache
def _openapi_json() -> bytes:
    return msgspec.json.encode(openapi())


@cache
def _docs() -> bytes:
    from tunelog.server import docs_page

    return docs_page.render(openapi()).encode()


def public_routes(service: Service, numbers: Numbers) -> list[Route]:
    """Every route that needs no key."""

    async def get_readiness(request: Request) -> Response:
        if service.stopping.is_set():
            return error_response(StoreUnavailable("the service is stopping"))
        try:
            await run_in_threadpool(service.backend.check)
        except TunelogError as error:
            return error_response(error)
        return Response(b'{"status":"ready"}', media_type="application/json")

    async def get_service_metrics(request: Request) -> Response:
        return Response(numbers.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        _route("/readyz", get_readiness),
        _route("/metrics", get_service_metrics),
        *_fixed_routes(),
    ]


def _fixed_routes() -> list[Route]:
    """What is the same at every request. It is made at the first, so that a start is quick."""
    table: tuple[tuple[str, str, Callable[[], bytes], str], ...] = (
        ("/healthz", "get_health", lambda: b'{"status":"ok"}', "application/json"),
        ("/openapi.yaml", "get_openapi_yaml", lambda: _file("openapi.yaml"), "application/yaml"),
        ("/openapi.json", "get_openapi_json", _openapi_json, "application/json"),
        ("/docs", "get_docs", _docs, "text/html"),
        ("/docs.css", "get_docs_style", lambda: _file("docs.css"), "text/css"),
    )
    return [_route(path, _always(name, make, kind)) for path, name, make, kind in table]


def _always(name: str, make: Callable[[], bytes], media_type: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        content = await run_in_threadpool(make)
        return Response(content, media_type=media_type, headers=_SAFE)

    answer.__name__ = name
    return answer


def _route(path: str, endpoint: Endpoint) -> Route:
    """A route whose name the log and the numbers know."""

    async def handle(request: Request) -> Response:
        request.state.operation = endpoint.__name__
        return await endpoint(request)

    return Route(path, handle, methods=["GET"])


def _file(name: str) -> bytes:
    return (resources.files(__package__) / name).read_bytes()
