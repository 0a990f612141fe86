"""What is told of every request: a log line, and numbers. No secret: no header, no query string."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelog.server.numbers import Numbers
from tunelog.wire.times import format_time

LogLine = Callable[[dict[str, Any]], None]


def log_to_stderr(fields: dict[str, Any]) -> None:
    """Write one JSON line, which begins with the time."""
    line = {"time": format_time(time.time_ns()), **fields}
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()


class Observer:
    """Counts requests, and logs a line for each."""

    def __init__(self, numbers: Numbers, log: LogLine) -> None:
        self._numbers, self.log = numbers, log

    def begun(self) -> float:
        """A request is to be answered; the moment for `ended`."""
        self._numbers.begun()
        return time.perf_counter()

    def ended(self, scope: Scope, status: int, size: int, begun: float) -> None:
        """It is answered, with so many bytes; its `state` tells the operation and the key."""
        seconds = time.perf_counter() - begun
        state, client = scope["state"], scope.get("client")
        operation = state["operation"]
        self._numbers.ended(operation, status, seconds, size)
        self.log(
            {
                "method": scope["method"],
                "path": (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0],
                "operation": operation,
                "status": status,
                "ms": round(seconds * 1000, 3),
                "bytes": size,
                "key": state.get("key"),
                "client": client[0] if client else None,
            }
        )


class Observed:
    """ASGI middleware that has an observer see every request."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell of it when its answer has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, size = 0, 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        scope["state"] = {**scope.get("state", {}), "operation": "unknown"}
        begun = self._observer.begun()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._observer.ended(scope, status, size, begun)
