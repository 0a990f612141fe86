"""One-time codes: what the link of the start carries."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable

CODE_SECONDS = 600


class Codes:
    """What signs one in as a key: once, within ten minutes, at the processes that inherit it."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` tells the time in nanoseconds since the epoch."""
        self._clock = clock
        self._known: dict[bytes, tuple[str, int, int]] = {}

    def new(self, key_id: str) -> str:
        """A code of a key; to be made before the processes are forked that are to take it."""
        code = secrets.token_urlsafe(32)
        # A pipe that holds one byte gives it to one reader, of whatever process, and then ends.
        ticket, writer = os.pipe()
        os.write(writer, b"1")
        os.close(writer)
        self._known[_hashed(code)] = key_id, self._clock() + CODE_SECONDS * 1_000_000_000, ticket
        return code

    def redeem(self, code: str) -> str | None:
        """The key of a good code, which is then no longer good."""
        key_id, expires_at, ticket = self._known.get(_hashed(code), ("", 0, -1))
        if expires_at <= self._clock() or not os.read(ticket, 1):
            return None
        return key_id


def _hashed(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
