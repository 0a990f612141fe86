"""Request bodies: read and decompressed, never beyond the limit."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import zstandard
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from tunelog.errors import InvalidRequest, LimitExceeded

_PIECE = 512
"""Bytes to decompress at once: few enough that a bomb is noticed before it has grown, and that what
follows a member, which is copied, stays small even if there are a million of them."""


class BodyStalled(Exception):  # noqa: N818 - named for what happened
    """The caller began a body and does not go on with it."""


async def read_body(request: Request, limit: int, patience: float) -> bytes:
    """The body as it was sent.

    Raises:
        LimitExceeded: it is larger than `limit` bytes, whatever it says of its length.
        BodyStalled: nothing more of it came for `patience` seconds.
        ClientDisconnect: it ended before it was whole.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts, size, more = [], 0, True
    while more:
        message = await _patiently(request, patience)
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _patiently(request: Request, patience: float) -> Message:
    """The next part of the body."""
    try:
        async with asyncio.timeout(patience):
            message = await request.receive()
    except TimeoutError:
        raise BodyStalled(f"nothing more of the body came for {patience:g} s") from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Raises:
        InvalidRequest: the encoding is unknown, or the body is not of it, damaged or cut short.
        LimitExceeded: it grows beyond `limit` bytes.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(body, limit, "gzip", lambda: zlib.decompressobj(wbits=31), zlib.error)
    if encoding == "zstd":
        frames = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return _unpacked(body, limit, "zstd", frames.decompressobj, zstandard.ZstdError)
    raise InvalidRequest(f"Content-Encoding: {encoding!r} is none of gzip, zstd, identity")


def _unpacked(
    body: bytes, limit: int, name: str, begin: Callable[[], Any], failure: type[Exception]
) -> bytes:
    """Every member or frame of a body (RFC 1952, RFC 8878), checksums verified.

    Args:
        begin: makes a decompressor of one member.
        failure: what that raises for bytes that are none.
    """
    out, size, place = [], 0, 0
    while place < len(body):
        stream = begin()
        while not stream.eof:
            piece = body[place : place + _PIECE]
            if not piece:
                raise InvalidRequest(f"Content-Encoding: the {name} body is cut short")
            place += len(piece)
            try:
                part = stream.decompress(piece)
            except failure as error:
                reason = f"Content-Encoding: the body is not {name}: {error}"
                raise InvalidRequest(reason) from None
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            out.append(part)
        place -= len(stream.unused_data)
    return b"".join(out)


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(f"the body is larger than the {limit} bytes allowed")
