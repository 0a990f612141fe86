"""Answers that are sent again while nothing has changed.

A page that is reloaded, or ten people who look at one chart, ask for the same bytes. An answer is
remembered with the version that the store had before it was made, and is good for as long as the
store has that version, to the transaction and across processes: what it holds, and whether its key
is good, cannot have changed. What a share link shows changes with the time, too, so that is not
remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelog.errors import TunelogError
from tunelog.store import Backend

_MOST_BYTES = 1 << 18
"""Of one answer; larger ones are made anew."""

_ROOM = 32 << 20
"""Bytes of all answers together."""

_BODY = (b"content-length", b"transfer-encoding")
_TELLING = (b"authorization", b"accept", b"accept-encoding", *_BODY)
"""Headers that an answer depends on; none is remembered of a request with a body."""

Key = tuple[bytes | None, ...]


class _Answer(NamedTuple):
    """A whole answer, and what the log is told of it."""

    version: int
    start: Message
    body: Message
    state: dict[str, object]


class Remembered:
    """ASGI middleware that answers reads of metrics from memory where it can."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        """`backend` tells the store's version."""
        self._app = app
        self._backend = backend
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._used = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is remembered, or pass the request on and remember the answer."""
        key = _key(scope)
        version = None if key is None else self._version()
        if key is None or version is None:
            await self._app(scope, receive, send)
            return
        known = self._answers.get(key)
        if known is not None and known.version == version:
            self._answers.move_to_end(key)
            scope["state"].update(known.state)
            await send(known.start)
            await send(known.body)
            return
        start: Message = {}

        async def watch(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif start.get("status") == 200 and not message.get("more_body"):
                self._remember(key, _Answer(version, start, message, scope["state"]))
            await send(message)
            if message.get("more_body"):
                start = {}

        await self._app(scope, receive, watch)

    def _version(self) -> int | None:
        try:
            return self._backend.version()
        except TunelogError:  # who reads will say what is wrong
            return None

    def _remember(self, key: Key, answer: _Answer) -> None:
        size = len(answer.body.get("body", b""))
        if size > _MOST_BYTES or not answer.state.get("lasting"):
            return
        before = self._answers.pop(key, None)
        self._answers[key] = answer
        self._used += size - (len(before.body["body"]) if before else 0)
        while self._used > _ROOM:
            _, oldest = self._answers.popitem(last=False)
            self._used -= len(oldest.body["body"])


def _key(scope: Scope) -> Key | None:
    """What an answer depends on; None for requests whose answers are not remembered."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path: bytes = scope.get("raw_path") or b""
    if not (path.endswith(b"/metrics") and b"/fine-tunes/" in path):
        return None
    headers = {name: value for name, value in scope["headers"] if name in _TELLING}
    if b"authorization" not in headers or not headers.keys().isdisjoint(_BODY):
        return None
    return path, scope["query_string"], *map(headers.get, _TELLING)
