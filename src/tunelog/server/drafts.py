"""The page's first question, answered within the page.

What the page asks first can be told from its address. So the answer, the same that the API gives,
is read while the page is on its way, and comes in an element of it: nothing has to be loaded before
it is asked for. Where there is none, or half of one, the page asks for itself.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import msgspec
from starlette.requests import Request

from tunelog.errors import TunelogError
from tunelog.server.metrics import jobs_answer
from tunelog.server.service import Call, Service, authenticate
from tunelog.server.sessions import COOKIE

_MOST, _LEAST, _ROWS = 200, 40, 2400
"""Rows of each job, and of all together."""


def draft(service: Service, request: Request) -> Iterator[bytes] | None:
    """The element with the answer, made while it is sent; None if the page is not about jobs.

    A session has to show them: what a share link shows is asked for with the link's own token,
    which the address does not tell.
    """
    jobs = list(dict.fromkeys(filter(None, request.query_params.getlist("job"))))
    if not jobs or COOKIE not in request.cookies or request.method == "HEAD":
        return None
    return _element(service, request, _question(jobs))


def _question(jobs: Sequence[str]) -> bytes:
    """As the page's `Curves.draft` asks: a test holds the two to each other."""
    resolution = min(_MOST, max(_LEAST, _ROWS // len(jobs)))
    return msgspec.json.encode({"nonfinite": "string", "jobs": jobs, "resolution": resolution})


def _element(service: Service, request: Request, question: bytes) -> Iterator[bytes]:
    asked = html.escape(question.decode())
    yield f'<script type="application/json" id="draft" data-question="{asked}">'.encode()
    try:
        principal = authenticate(service, request, "read")
        request.state.key = principal.key.id
        for chunk in jobs_answer(Call(service, request, principal, question)):
            yield chunk.replace(b"<", b"\\u003c")
    except TunelogError:
        pass  # the page asks again, and is told
    yield b"</script>\n"
