"""Being signed in: a cookie that stands for a key, so that a browser need not keep the key.

A session names a key and its own end, and is signed with a secret of the store: so it outlives a
restart, is good at every process of one store, and dies with its key. Nothing of it is stored. What
changes something by a session has to come from the page itself (`from_same_origin`).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request

from tunelog.access import Principal
from tunelog.errors import Unauthenticated
from tunelog.server.codes import Codes
from tunelog.store import Keyring

COOKIE = "tunelog_session"
SECONDS = 30 * 86_400
_NS = 1_000_000_000
_ENDED = "this session has ended or is not one: sign in again"


class Sessions:
    """Begins sessions and knows whose they are."""

    def __init__(self, keyring: Keyring, clock: Callable[[], int], codes: Codes) -> None:
        """`clock` tells the time in nanoseconds since the epoch, `codes` are good once."""
        self._keyring = keyring
        self._clock = clock
        self._signing_key: bytes | None = None
        self._codes = codes

    def begin(self, key_id: str) -> str:
        """A session of a key: the cookie's value."""
        content = f"{key_id}.{self._clock() // _NS + SECONDS}"
        return f"{content}.{self._signature(content)}"

    def principal(self, session: str) -> Principal:
        """Whose session this is; `Unauthenticated` if it has ended, or its key was revoked."""
        content, _, signature = session.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(content).encode()):
            raise Unauthenticated(_ENDED)
        key_id, _, expires = content.partition(".")
        if int(expires) * _NS <= self._clock():
            raise Unauthenticated(_ENDED)
        return self._keyring.principal(key_id)

    def _signature(self, content: str) -> str:
        if self._signing_key is None:
            self._signing_key = self._keyring.signing_key()
        words = b"tunelog session 1\n" + content.encode("utf-8", "surrogateescape")
        digest = hmac.digest(self._signing_key, words, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def redeem(self, code: str) -> str | None:
        """The key that a good code signs one in as; the code is then no longer good."""
        key_id = self._codes.redeem(code)
        if key_id is None:
            return None
        try:
            self._keyring.principal(key_id)
        except Unauthenticated:  # revoked meanwhile
            return None
        return key_id


def from_same_origin(request: Request, *, unless_told: bool = False) -> bool:
    """Whether a request comes from a page of this service, by what browsers say of themselves.

    `Sec-Fetch-Site`, which they send to https and to the local machine, decides; else `Origin`,
    which they send with every POST and DELETE of a script. `unless_told` is the answer to who says
    nothing of either, and so is no browser.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is not None:
        host = request.headers.get("host", "").lower()
        return bool(host) and _host(origin) == host
    return unless_told


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
