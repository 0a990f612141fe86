"""One path for each operation, however a client's base URL spells it.

`/v1`, `/v1/v1` and the bare root answer alike, a trailing slash does no harm, and an encoded slash
stays inside its segment: the raw path is split first, and every segment is put back
percent-encoded, so that routes match segments and endpoints decode them.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_PLAIN = re.compile(rb"[A-Za-z0-9_.~:/-]*").fullmatch
"""Matches a path of which `_encoded` would change nothing."""


def canonical(raw_path: bytes) -> str:
    """The path that routes match; of what is no path, such as `*`, none does."""
    if not raw_path.startswith(b"/"):
        return raw_path.decode("latin-1")
    plain = _PLAIN(raw_path) is not None
    segments = raw_path.decode("latin-1").split("/")[1:]
    for _ in range(2):
        if segments and segments[0] == "v1":
            del segments[0]
    if len(segments) > 1 and not segments[-1]:
        segments.pop()
    return "/" + "/".join(segments if plain else map(_encoded, segments))


def _encoded(segment: str) -> str:
    """The segment with everything percent-encoded that may be, and nothing twice."""
    return quote(unquote(segment, errors="surrogateescape"), safe=":", errors="surrogateescape")


def decoded(segment: str) -> str:
    """A segment as the caller meant it."""
    return unquote(segment, errors="replace")


class CanonicalPaths:
    """ASGI middleware that gives the routes the canonical path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its canonical path."""
        if scope["type"] == "http":
            raw = scope.get("raw_path") or quote(scope["path"]).encode()
            scope = {**scope, "path": canonical(raw.partition(b"?")[0])}
        await self._app(scope, receive, send)
