"""What a service's refusals come to, read from real answers of a service that only refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunelog.backends.remote import RemoteStore
from tunelog.errors import StoreError


@contextmanager
def refusing(status: int, retry_after: str | None) -> Iterator[str]:
    """The address of a service that answers everything so."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", (7, 7)),
        (formatdate(time.time() + 100_000, usegmt=True), (90_000, 100_000)),
        (formatdate(time.time() - 100_000, usegmt=True), (0, 0)),
        ("soon", None),
        (None, None),
    ],
    ids=["seconds", "a later date", "a past date", "words", "nothing"],
)
def test_when_to_come_again_is_read_from_any_refusal(
    status: int, retry_after: str | None, seconds: tuple[float, float] | None
) -> None:
    with (
        refusing(status, retry_after) as url,
        closing(RemoteStore(url, "tl-key")) as store,
        pytest.raises(StoreError) as refused,
    ):
        store.jobs()
    if seconds is None:
        assert refused.value.retry_after is None
    else:
        assert refused.value.retry_after is not None
        assert seconds[0] <= refused.value.retry_after <= seconds[1]
