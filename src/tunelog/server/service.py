"""What every endpoint has at hand: the backend, the settings, the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from starlette.requests import Request

from tunelog.access import Principal, Scope
from tunelog.config import Settings
from tunelog.errors import Forbidden, Unauthenticated
from tunelog.server.paths import decoded
from tunelog.server.sessions import COOKIE, Sessions, from_same_origin
from tunelog.server.shared import SharedJobs
from tunelog.store import Backend, Store
from tunelog.wire.snapshots import Limits

Result = TypeVar("Result")

_READERS = 3
"""Reads at once: they compute, and the more of them do, the more each waits for the others."""

_WRITERS = 64
"""Writes at once: they wait, and those that wait together share one commit."""


class News:
    """Wakes live tails when a job of this process changes; other processes' changes are polled."""

    def __init__(self) -> None:
        self._waiting: WeakValueDictionary[tuple[str, str], asyncio.Event] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None

    def published(self, project: str, job_id: str) -> None:
        """A job changed; may be called from any thread."""
        if (project, job_id) in self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake, (project, job_id))

    def _wake(self, key: tuple[str, str]) -> None:
        event = self._waiting.pop(key, None)
        if event is not None:
            event.set()

    def listen(self, project: str, job_id: str) -> asyncio.Event:
        """An event that is set at the job's next change."""
        self._loop = asyncio.get_running_loop()
        return self._waiting.setdefault((project, job_id), asyncio.Event())


class Service:
    """One running service."""

    def __init__(
        self, backend: Backend, settings: Settings, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """`clock` tells the time in nanoseconds since the epoch."""
        self.backend = backend
        self.settings = settings
        self.clock = clock
        self.sessions = Sessions(backend, clock)
        self.news = News()
        self.stopping = asyncio.Event()
        self._reading = ThreadPoolExecutor(_READERS, "tunelog-read")
        self._writing = ThreadPoolExecutor(_WRITERS, "tunelog-write")
        self.limits = Limits(
            max_batch_rows=settings.max_batch_rows,
            max_row_keys=settings.max_row_keys,
            max_key_length=settings.max_key_length,
        )

    async def in_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        """The result of `work`, which may wait for the store to be written."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, work, *args)

    async def in_reading_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        """The result of `work`, which reads."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *args)


class Call(NamedTuple):
    """A request, who makes it, and its body."""

    service: Service
    request: Request
    principal: Principal
    body: bytes

    @property
    def store(self) -> Store:
        """The jobs of the caller's project; by a share link, those that it shows."""
        store = self.service.backend.store(self.principal.project)
        share = self.principal.share
        return store if share is None else SharedJobs(store, share)

    @property
    def job_id(self) -> str:
        """The job that the path names."""
        return decoded(self.request.path_params["id"])

    def changed(self) -> None:
        """Tell the live tails of the job that there is news."""
        self.service.news.published(self.principal.project.id, self.job_id)


def authenticate(service: Service, request: Request, scope: Scope | None) -> Principal:
    """Who is calling, by a key or, without one, by a session, if they may.

    Raises:
        Unauthenticated: neither a good key nor a good session.
        Forbidden: beyond the scope, or a session's change that is not the page's.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        principal = service.backend.authenticate(secret.strip())
    elif session := request.cookies.get(COOKIE):
        principal = service.sessions.principal(session)
        if request.method not in ("GET", "HEAD") and not from_same_origin(request):
            raise Forbidden("a session is good for changes only from the page itself; send a key")
    else:
        raise Unauthenticated("an API key is required: Authorization: Bearer <key>")
    if scope is not None and not principal.may(scope):
        what = "this API key" if principal.share is None else "a share link"
        raise Forbidden(f"{what} lacks the scope {scope}")
    return principal
