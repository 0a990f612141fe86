"""What every endpoint has at hand: the backend, the settings, the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from starlette.requests import Request

from tunelog.access import Principal, Scope
from tunelog.config import Settings
from tunelog.errors import Forbidden, Unauthenticated
from tunelog.server.paths import decoded
from tunelog.server.sessions import COOKIE, Sessions, from_same_origin
from tunelog.server.settling import Settling
from tunelog.server.shared import SharedJobs
from tunelog.server.siblings import ChangedJob, Notices, Sibling
from tunelog.store import Backend, Store
from tunelog.wire.snapshots import Limits

Result = TypeVar("Result")

_READERS = 3
"""Reads at once: they compute, and the more of them do, the more each waits for the others."""

_WAITING_READERS = 32
"""The same where a remote store computes."""

_WRITERS = 64
"""Writes at once: they wait, and those that wait together share one commit."""

_MOMENT = 0.003
"""Seconds for which notices to siblings are gathered."""


class News:
    """Wakes live tails when a job changes, in this process or in a sibling.

    Where neither can tell, on another machine, tails look into the store by themselves.
    """

    def __init__(self, notices: Notices) -> None:
        """`notices` go to the siblings and come from them."""
        self._notices = notices
        self._untold: set[ChangedJob] = set()
        self._waiting: WeakValueDictionary[ChangedJob, asyncio.Event] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Hear of siblings, in the event loop that runs."""
        loop = self._loop = asyncio.get_running_loop()
        if self._notices.inbox is None:
            yield
            return
        loop.add_reader(self._notices.inbox, self._hear)
        try:
            yield
        finally:
            loop.remove_reader(self._notices.inbox)

    def published(self, project: str, job_id: str) -> None:
        """A job changed; may be called from any thread."""
        job = project, job_id
        if self._loop is not None and (self._notices.inbox is not None or job in self._waiting):
            self._loop.call_soon_threadsafe(self._spread, job)

    def _spread(self, job: ChangedJob) -> None:
        self._wake(job)
        if self._notices.inbox is not None:
            if not self._untold:  # those of a moment go together: to be woken costs a sibling more
                asyncio.get_running_loop().call_later(_MOMENT, self._tell)
            self._untold.add(job)

    def _tell(self) -> None:
        self._notices.tell(self._untold)
        self._untold.clear()

    def _hear(self) -> None:
        for job in self._notices.heard():
            self._wake(job)

    def _wake(self, job: ChangedJob) -> None:
        event = self._waiting.pop(job, None)
        if event is not None:
            event.set()

    def listen(self, project: str, job_id: str) -> asyncio.Event:
        """An event that is set at the job's next change."""
        self._loop = asyncio.get_running_loop()
        return self._waiting.setdefault((project, job_id), asyncio.Event())


class Service:
    """One running service."""

    def __init__(
        self, backend: Backend, settings: Settings, clock: Callable[[], int], sibling: Sibling
    ) -> None:
        """`clock` tells the time in nanoseconds since the epoch; `sibling` is this process."""
        self.backend = backend
        self.settings = settings
        self.clock = clock
        self.sessions = Sessions(backend, clock, sibling.codes)
        self.news = News(sibling.notices)
        self.settling = Settling()
        self.stopping = asyncio.Event()
        readers = _WAITING_READERS if backend.remote else _READERS
        self._reading = ThreadPoolExecutor(readers, "tunelog-read")
        self._writing = ThreadPoolExecutor(_WRITERS, "tunelog-write")
        self.limits = Limits(
            max_batch_rows=settings.max_batch_rows,
            max_row_keys=settings.max_row_keys,
            max_key_length=settings.max_key_length,
        )

    def knows(self, secret: str) -> bool:
        """Whether `authenticate` need not wait."""
        return not self.backend.remote or self.backend.knows(secret)

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
    if secret := bearer(request.headers.get("authorization", "")):
        principal = service.backend.authenticate(secret)
    elif session := request.cookies.get(COOKIE):
        principal = service.sessions.principal(session)
        if request.method not in ("GET", "HEAD") and not from_same_origin(request):
            raise Forbidden("a session is good for changes only from the page itself; send a key")
    else:
        raise Unauthenticated("an API key is required: Authorization: Bearer <key>")
    if scope is not None:
        require(principal, scope)
    return principal


def require(principal: Principal, scope: Scope) -> None:
    """Raise `Forbidden` if this is beyond what the caller may do."""
    if not principal.may(scope):
        what = "this API key" if principal.share is None else "a share link"
        raise Forbidden(f"{what} lacks the scope {scope}")


def bearer(authorization: str) -> str:
    """The secret that this header bears; empty without one."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
