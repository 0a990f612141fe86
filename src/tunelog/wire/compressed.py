"""Encoded snapshots that need not be compressed again: zstd frames (RFC 8878), one after another.

A client that accepts zstd takes any number of frames for one stream, so what a store keeps
compressed can be sent as it is, with what stands between in frames of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from tunelog.model import ROW_SEPARATOR, Compressed

SEPARATOR = zstandard.ZstdCompressor(level=1).compress(ROW_SEPARATOR)
"""`ROW_SEPARATOR` as a frame."""

_LEVEL = 3
_ENOUGH = 1 << 18


def zstd(pieces: Iterable[bytes | Compressed]) -> Iterator[bytes]:
    """A zstd stream of all pieces: what is compressed passes through, the rest is compressed."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    waiting = bytearray()
    for piece in pieces:
        if isinstance(piece, Compressed):
            if waiting:
                yield compressor.compress(waiting)
                waiting = bytearray()
            yield piece.data
            continue
        waiting += piece
        if len(waiting) >= _ENOUGH:
            yield compressor.compress(waiting)
            waiting = bytearray()
    if waiting:
        yield compressor.compress(waiting)
