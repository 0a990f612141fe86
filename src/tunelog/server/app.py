"""The ASGI application: the table of operations, errors as answers, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tunelog.access import Principal, Scope
from tunelog.config import Settings
from tunelog.errors import InvalidRequest, TunelogError
from tunelog.server import answers, jobs, metrics, shares, tails
from tunelog.server.bodies import decompressed, read_body
from tunelog.server.direct import PATH, Direct
from tunelog.server.drafts import draft
from tunelog.server.errors import status_response
from tunelog.server.handling import answered
from tunelog.server.numbers import Numbers
from tunelog.server.observe import LogLine, Observed, Observer, log_to_stderr
from tunelog.server.pages import page_routes
from tunelog.server.paths import CanonicalPaths
from tunelog.server.public import public_routes
from tunelog.server.remembered import Remembered
from tunelog.server.service import Call, Service, authenticate, bearer
from tunelog.server.siblings import Sibling, alone
from tunelog.server.signing_in import session_routes
from tunelog.server.small_batches import SmallBatches
from tunelog.store import Backend

Endpoint = Callable[[Call], Response | Awaitable[Response]]
"""Answers in a thread, unless what it answers has to be awaited, which is then in none."""

_awaited = functools.cache(asyncio.iscoroutinefunction)


class Operation(NamedTuple):
    """A line of the API: how it is called, what the key must allow, and who answers."""

    method: str
    path: str
    scope: Scope | None
    endpoint: Endpoint


def get_metrics(call: Call) -> Response:
    """The job's snapshots, at once or as a live tail."""
    accept = call.request.headers.get("accept", "*/*")
    if answers.preferred(accept, answers.FORMATS) == answers.EVENT_STREAM:
        return tails.tail(call)
    return metrics.get_metrics(call)


def missing_job_id(call: Call) -> Response:
    """The path has an empty segment where the job's ID belongs."""
    raise InvalidRequest("missing job ID", param="id")


OPERATIONS = (
    Operation("GET", PATH, "read", get_metrics),
    Operation("POST", PATH, "write", metrics.append_metrics),
    Operation("GET", "/whoami", None, jobs.whoami),
    Operation("GET", "/v3/whoami", None, jobs.whoami),
    Operation("GET", "/fine-tunes", "read", jobs.list_jobs),
    Operation("POST", "/fine-tunes", "write", jobs.create_job),
    Operation("GET", "/fine-tunes//metrics", "read", missing_job_id),
    Operation("GET", "/fine-tunes/{id}", "read", jobs.retrieve_job),
    Operation("PATCH", "/fine-tunes/{id}", "write", jobs.update_job),
    Operation("DELETE", "/fine-tunes/{id}", "admin", jobs.delete_job),
    Operation("POST", "/fine-tunes/{id}/cancel", "write", jobs.cancel_job),
    Operation("GET", "/fine-tunes/{id}/attempts", "read", jobs.list_attempts),
    Operation("POST", "/fine-tunes/{id}/attempts", "write", jobs.open_attempt),
    Operation("GET", "/fine-tunes/{id}/events", "read", jobs.list_events),
    Operation("POST", "/fine-tunes/{id}/events", "write", jobs.add_event),
    Operation("GET", "/fine-tunes/{id}/checkpoints", "read", jobs.list_checkpoints),
    Operation("POST", "/fine-tunes/{id}/checkpoints", "write", jobs.add_checkpoint),
    Operation("GET", "/fine-tunes/{id}/metrics/summary", "read", metrics.summarize_metrics),
    Operation("POST", "/metrics/query", "read", metrics.query_metrics),
    Operation("GET", "/shares", "read", shares.list_shares),
    Operation("POST", "/shares", "write", shares.create_share),
    Operation("DELETE", "/shares/{share}", "write", shares.revoke_share),
)


def create_app(
    backend: Backend,
    settings: Settings | None = None,
    *,
    clock: Callable[[], int] = time.time_ns,
    log: LogLine = log_to_stderr,
    sibling: Sibling | None = None,
) -> Starlette:
    """The service as an ASGI application; `app.state.service.stopping` ends its live tails.

    Args:
        backend: where everything is kept; the caller opens and closes it.
        settings: limits and times.
        clock: tells the time in nanoseconds since the epoch.
        log: takes the fields of a log line.
        sibling: which of a service's processes this is; by default the only one.
    """
    sibling = sibling or alone(clock)
    service = Service(backend, settings or Settings(), clock, sibling)
    numbers = Numbers(sibling)
    observer = Observer(numbers, log)
    hot = {each.method: each for each in OPERATIONS if each.path == PATH}

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        # So that threads and the store's first connection are not the first request's to set up.
        await run_in_threadpool(service.backend.check)
        watch = asyncio.create_task(_watch_silence(service, log))
        with service.news.told():
            yield {"small_batches": SmallBatches(service, observer)}
        watch.cancel()

    app = Starlette(
        routes=[
            *_routes(service, log),
            *session_routes(service, log),
            *public_routes(service, numbers),
            *page_routes(draft=partial(draft, service)),
        ],
        middleware=[
            Middleware(Observed, observer=observer),
            Middleware(Remembered, backend=backend),
            Middleware(CanonicalPaths),
            Middleware(Direct, methods=hot, handle=_dispatch(service, log, hot)),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


# ---------------------------------------------------------------- the operations' routes


def _routes(service: Service, log: LogLine) -> list[Route]:
    """A route for each operation; several methods of one path are one route, for the 405."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = operation
    return [
        Route(path, _dispatch(service, log, operations), methods=list(operations))
        for path, operations in paths.items()
    ]


def _dispatch(
    service: Service, log: LogLine, operations: dict[str, Operation]
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = operations[method]
        return await answered(
            request,
            operation.endpoint.__name__,
            log,
            lambda: _answer(service, request, operation),
        )

    return handle


async def _answer(service: Service, request: Request, operation: Operation) -> Response:
    """All in one thread, or none, once the whole request is there."""
    principal = None
    secret = bearer(request.headers.get("authorization", ""))
    if _awaited(operation.endpoint) and service.knows(secret):
        principal = _authenticated(service, request, operation)
    length = request.headers.get("content-length", "0")
    body = b""
    if length != "0" or "transfer-encoding" in request.headers:
        body = await _body(service, request, operation, principal)
    return await _called(service, request, operation, principal, body)


async def _body(
    service: Service, request: Request, operation: Operation, principal: Principal | None
) -> bytes:
    """The body; unless all of it is there already, the key is checked before it is waited for."""
    settings = service.settings
    if principal is not None:
        return await read_body(request, settings.max_body_bytes, settings.body_seconds)
    if "expect" in request.headers:  # to begin to read would be to ask for the body
        await service.in_thread(_authenticated, service, request, operation)
        return await read_body(request, settings.max_body_bytes, settings.body_seconds)
    body = asyncio.ensure_future(read_body(request, settings.max_body_bytes, settings.body_seconds))
    await asyncio.sleep(0)
    if not body.done():
        try:
            await service.in_thread(_authenticated, service, request, operation)
        except BaseException:
            body.cancel()
            raise
    return await body


async def _called(
    service: Service,
    request: Request,
    operation: Operation,
    principal: Principal | None,
    body: bytes,
) -> Response:
    encoding = request.headers.get("content-encoding", "")

    def call() -> Response | Awaitable[Response]:
        who = principal or _authenticated(service, request, operation)
        plain = decompressed(body, encoding, service.settings.max_body_bytes)
        return operation.endpoint(Call(service, request, who, plain))

    if principal is not None and not encoding:
        answer = call()  # what there is to do takes less than to hand it to a thread
    elif operation.scope == "read":
        answer = await service.in_reading_thread(call)
    else:
        answer = await service.in_thread(call)
    return answer if isinstance(answer, Response) else await answer


def _authenticated(service: Service, request: Request, operation: Operation) -> Principal:
    principal = authenticate(service, request, operation.scope)
    request.state.key = principal.key.id
    request.state.lasting = principal.share is None  # else what is allowed changes with the time
    return principal


def _http_error(request: Request, error: Exception) -> Response:
    """Unknown routes and methods."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    words = {404: f"there is no {path}", 405: f"{path} does not take {method}"}
    message = words.get(error.status_code, error.detail)
    return status_response(error.status_code, message, error.headers)


# ---------------------------------------------------------------- beside the requests


async def _watch_silence(service: Service, log: LogLine) -> None:
    """End jobs whose writers fell silent, for as long as the service runs."""
    silence = service.settings.silence_seconds
    while True:
        await asyncio.sleep(min(10.0, silence / 4))
        before = service.clock() - int(silence * 1_000_000_000)
        try:
            ended = await run_in_threadpool(service.backend.end_silent_jobs, before)
        except TunelogError as error:
            log({"error": error.message, "operation": "end_silent_jobs"})
            continue
        if ended:
            log({"silent_jobs_ended": len(ended)})
