"""What the service tells of itself: a log line a request, and numbers for Prometheus.

Neither holds a secret: no header, no query string; and the numbers hold no name of a project, job,
key or metric either, since they are served without a key.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelog import __version__
from tunelog.wire.times import format_time

LogLine = Callable[[dict[str, Any]], None]


class Numbers:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        info = Gauge("tunelog_info", "The running version.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self.requests = Counter(
            "tunelog_requests", "Requests.", ["operation", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "tunelog_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ["operation"],
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
        )
        self.sent = Counter("tunelog_sent_bytes", "Bytes of answers.", registry=self.registry)
        self.under_way = Gauge(
            "tunelog_requests_under_way", "Requests being answered.", registry=self.registry
        )

        # The library's look-up of labels takes longer than to count.
        self._counter = functools.cache(lambda *labels: self.requests.labels(*labels).inc)
        self._timer = functools.cache(lambda operation: self.seconds.labels(operation).observe)

    def told(self, operation: str, status: int, seconds: float, size: int) -> None:
        """Count an answered request."""
        self._counter(operation, status)()
        self._timer(operation)(seconds)
        self.sent.inc(size)

    def text(self) -> bytes:
        """The numbers in Prometheus's text format."""
        return generate_latest(self.registry)


def log_to_stderr(fields: dict[str, Any]) -> None:
    """Write one JSON line, which begins with the time."""
    line = {"time": format_time(time.time_ns()), **fields}
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()


class Observed:
    """ASGI middleware that logs and counts every request."""

    def __init__(self, app: ASGIApp, numbers: Numbers, log: LogLine) -> None:
        self._app, self._numbers, self._log = app, numbers, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell of it when its answer has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, size = 0, 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        scope["state"] = {**scope.get("state", {}), "operation": "unknown"}
        self._numbers.under_way.inc()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._numbers.under_way.dec()
            self._tell(scope, status, size, time.perf_counter() - begun)

    def _tell(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        state = scope["state"]
        operation = state["operation"]
        self._numbers.told(operation, status, seconds, size)
        client = scope.get("client")
        self._log(
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
