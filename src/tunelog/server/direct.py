"""The way of the requests that come most often: a job's metrics, read or written.

Starlette's router tries route after route and guards each by layers that turn errors into answers,
which ours does itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/fine-tunes/{id}/metrics"
"""The path, as a route has it."""

_match = re.compile(PATH.replace("{id}", "([^/]+)")).fullmatch


class Direct:
    """ASGI middleware that hands calls of `PATH` to whom the router would, and the rest to it."""

    def __init__(
        self,
        app: ASGIApp,
        methods: Collection[str],
        handle: Callable[[Request], Awaitable[Response]],
    ) -> None:
        """`handle` answers these methods, also when something goes wrong."""
        self._app, self._methods, self._handle = app, frozenset(methods), handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        found = scope["type"] == "http" and _match(scope["path"])
        if not found or scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        scope["path_params"] = {"id": found[1]}
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)
