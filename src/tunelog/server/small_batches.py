"""The short way of a small batch, as thousands of trainings post one every second.

Task, requests, responses and layers are most of what such a batch costs, the store aside: it takes
a third of that to be answered by its connection. So what has come whole, is plain JSON and bears a
key that is known without waiting goes this way; all else goes the usual one, to the same store.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec
from starlette.types import Scope

from tunelog.access import Principal
from tunelog.model import Receipt
from tunelog.server.handling import answer_to
from tunelog.server.metrics import NOT_GIVEN, SMALL, append_metrics
from tunelog.server.observe import Observer
from tunelog.server.service import Service, bearer, require
from tunelog.wire.snapshots import decode_batch

_OPERATION = append_metrics.__name__
_JSON = b"content-type", b"application/json"
_OTHERWISE = frozenset((b"content-encoding", b"expect", b"transfer-encoding"))

_path = re.compile(rb"(?:/v1){0,2}/fine-tunes/([A-Za-z0-9_.~:-]+)/metrics").fullmatch

Headers = list[tuple[bytes, bytes]]
Reply = Callable[[int, Headers, bytes], None]
"""Sends an answer: its status, its headers, its body."""


class _Post(NamedTuple):
    scope: Scope
    begun: float
    reply: Reply


class SmallBatches:
    """Appends them."""

    def __init__(self, service: Service, observer: Observer) -> None:
        self._service, self._observer = service, observer
        self._most = min(SMALL, service.settings.max_body_bytes)

    def take(self, scope: Scope, body: bytes, reply: Reply) -> bool:
        """Append what a request brings and reply to it later; whether it goes this way.

        Args:
            scope: the request, as ASGI has it, when its whole body has come.
            body: the body.
            reply: is called once, in the event loop, later.
        """
        headers = dict(scope["headers"])
        path = _path(scope["raw_path"])
        if path is None or len(body) > self._most or _is_otherwise(scope, headers):
            return False
        secret = bearer(headers.get(b"authorization", b"").decode("latin-1"))
        if not secret or not self._service.knows(secret):
            return False
        scope["state"]["operation"] = _OPERATION
        post = _Post(scope, self._observer.begun(), reply)
        try:
            self._append(path[1].decode(), secret, body, post)
        except Exception as error:
            asyncio.get_running_loop().call_soon(self._fail, post, error)
        return True

    def _append(self, job_id: str, secret: str, body: bytes, post: _Post) -> None:
        service = self._service
        principal = service.backend.authenticate(secret)
        post.scope["state"]["key"] = principal.key.id
        require(principal, "write")
        batch = decode_batch(body, NOT_GIVEN, service.limits, service.clock())
        future = service.backend.store(principal.project).submit(job_id, batch)
        service.settling.then(future, lambda ended: self._ended(post, principal, job_id, ended))

    def _ended(
        self, post: _Post, principal: Principal, job_id: str, future: Future[Receipt]
    ) -> None:
        error = future.exception()
        if error is not None:
            self._fail(post, error)
            return
        self._service.news.published(principal.project.id, job_id)
        receipt = msgspec.json.encode(future.result())
        self._reply(post, 200, [_JSON, (b"content-length", b"%d" % len(receipt))], receipt)

    def _fail(self, post: _Post, error: BaseException) -> None:
        answer = answer_to(error, _OPERATION, self._observer.log)
        self._reply(post, answer.status_code, answer.raw_headers, bytes(answer.body))

    def _reply(self, post: _Post, status: int, headers: Headers, body: bytes) -> None:
        try:
            post.reply(status, headers, body)
        finally:
            self._observer.ended(post.scope, status, len(body), post.begun)


def _is_otherwise(scope: Scope, headers: Mapping[bytes, Any]) -> bool:
    """Whether a batch has anything that is rarely found in one."""
    return bool(
        scope["query_string"]
        or len(headers) != len(scope["headers"])
        or not _OTHERWISE.isdisjoint(headers)
        or b"ndjson" in headers.get(b"content-type", b"").lower()
    )
