"""Live tails: a job's arrivals as server-sent events, for as long as the client listens.

Every event's id is a cursor, so a client that comes back with `Last-Event-ID` goes on without gap
or repeat. The comment `: up to date` says that everything known has been sent; then comments keep
the connection alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from tunelog.errors import NotFound, Unauthenticated
from tunelog.model import Change, Changes, SnapshotArrived, StatusChanged
from tunelog.server.answers import EVENT_STREAM
from tunelog.server.service import Call, authenticate
from tunelog.wire.queries import parse_query

_POLL_SECONDS = 1.0
"""How soon a change by another process is noticed, and that the key was revoked."""

UP_TO_DATE = b": up to date\n\n"


def tail(call: Call) -> Response:
    """Answer with a live tail, from the beginning, from `after`, or from `Last-Event-ID`."""
    parameters = dict(call.request.query_params.multi_items())
    query = parse_query(call.request.query_params.multi_items(), call.body)
    last = call.request.headers.get("last-event-id")
    if last:
        query = parse_query({**parameters, "after": last}.items(), call.body)
    store, job_id = call.store, call.job_id
    first = store.changes(job_id, query)

    def more(after: str) -> Changes:
        return store.changes(job_id, msgspec.structs.replace(query, after=after))

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if call.request.method == "HEAD":  # whose answer has no body to wait for
        return Response(headers=headers, media_type=EVENT_STREAM)
    return StreamingResponse(_events(call, first, more), media_type=EVENT_STREAM, headers=headers)


async def _events(
    call: Call, changes: Changes, more: Callable[[str], Changes]
) -> AsyncIterator[bytes]:
    service, project, job_id = call.service, call.principal.project.id, call.job_id
    loop = asyncio.get_running_loop()
    told, quiet_since, checked = False, loop.time(), loop.time()
    while not service.stopping.is_set():
        news = service.news.listen(project, job_id)
        if changes.items:
            told, quiet_since = False, loop.time()
            yield b"".join(map(encode_change, changes.items))
        if not changes.more:
            if not told:
                told = True
                yield UP_TO_DATE
            elif loop.time() - quiet_since >= service.settings.tail_comment_seconds:
                quiet_since = loop.time()
                yield b": still here\n\n"
            await _first_of(news, service.stopping)
            if await call.request.is_disconnected():
                return
        try:
            if loop.time() - checked >= _POLL_SECONDS:
                checked = loop.time()
                await run_in_threadpool(authenticate, service, call.request, "read")
            changes = await run_in_threadpool(more, changes.cursor)
        except (NotFound, Unauthenticated):  # the job was deleted, or the key revoked
            return


async def _first_of(news: asyncio.Event, stopping: asyncio.Event) -> None:
    """Wait for either, or until it is time to poll."""
    waits = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(waits, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def encode_change(change: Change) -> bytes:
    """One server-sent event."""
    if isinstance(change, SnapshotArrived):
        name, data = b"snapshot", change.line
    elif isinstance(change, StatusChanged):
        name, data = b"status", msgspec.json.encode({"status": change.status})
    else:
        name = b"superseded"
        data = msgspec.json.encode({"attempt": change.attempt, "from_step": change.from_step})
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (change.cursor.encode(), name, data)
