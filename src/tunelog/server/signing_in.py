"""Routes that begin and end sessions; none needs a key in its header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tunelog.access import Share
from tunelog.errors import Forbidden, InvalidRequest
from tunelog.server import sessions
from tunelog.server.bodies import decompressed, read_body
from tunelog.server.handling import answered
from tunelog.server.observe import LogLine
from tunelog.server.service import Service
from tunelog.wire.snapshots import loads

_MOST_BYTES = 65_536
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

Endpoint = Callable[[Service, Request], Awaitable[Response]]


def session_routes(service: Service, log: LogLine) -> list[Route]:
    """`/session` and `/sign-in`."""
    return [
        _route(service, log, "/session", {"POST": begin_session, "DELETE": end_session}),
        _route(service, log, "/sign-in", {"GET": sign_in}),
    ]


async def begin_session(service: Service, request: Request) -> Response:
    """Sign in with a key."""
    if not sessions.from_same_origin(request, unless_told=True):
        raise Forbidden("a session can be begun only from the page itself")
    sent = await read_body(request, _MOST_BYTES, service.settings.body_seconds)
    body = decompressed(sent, request.headers.get("content-encoding", ""), _MOST_BYTES)
    secret = loads(body).get("api_key")
    if not isinstance(secret, str) or not secret.strip():
        raise InvalidRequest("api_key: a key is required", param="api_key")

    def begin() -> str:
        key = service.backend.authenticate(secret.strip()).key
        if isinstance(key, Share):
            raise InvalidRequest("api_key: a share link is not a key", param="api_key")
        request.state.key = key.id
        return service.sessions.begin(key.id)

    return _signed_in(request, Response(None, 204), await run_in_threadpool(begin))


async def end_session(service: Service, request: Request) -> Response:
    """Sign out: the browser forgets the session."""
    if not sessions.from_same_origin(request, unless_told=True):
        raise Forbidden("a session can be ended only from the page itself")
    return _signed_in(request, Response(None, 204), "", seconds=0)


async def sign_in(service: Service, request: Request) -> Response:
    """Sign in with the one-time link that the start printed."""
    if request.method == "HEAD":  # who only looks at the link does not use it up
        return RedirectResponse("/", 303, _PRIVATE)
    code = request.query_params.get("code", "")
    key_id = await run_in_threadpool(service.sessions.redeem, code)
    if key_id is None:
        return RedirectResponse("/?sign-in=expired", 303, _PRIVATE)
    request.state.key = key_id
    session = await run_in_threadpool(service.sessions.begin, key_id)
    return _signed_in(request, RedirectResponse("/", 303), session)


def _signed_in(
    request: Request, answer: Response, session: str, *, seconds: int = sessions.SECONDS
) -> Response:
    """The answer with the session's cookie; one of 0 seconds is forgotten."""
    answer.headers.update(_PRIVATE)
    answer.set_cookie(
        sessions.COOKIE,
        session,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def _route(service: Service, log: LogLine, path: str, endpoints: Mapping[str, Endpoint]) -> Route:
    async def handle(request: Request) -> Response:
        endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
        return await answered(request, endpoint.__name__, log, lambda: endpoint(service, request))

    return Route(path, handle, methods=list(endpoints))
