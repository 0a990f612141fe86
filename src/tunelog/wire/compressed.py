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
_ENOUGH = 1 << 20


def zstd(pieces: Iterable[bytes | Compressed]) -> Iterator[bytes]:
    """A zstd stream of all pieces: what is compressed passes through, the rest is compressed."""
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    plain: list[bytes] = []
    ready: list[bytes] = []
    plain_size = ready_size = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            plain.append(piece)
            plain_size += len(piece)
        if plain and (plain_size >= _ENOUGH or not isinstance(piece, bytes)):
            ready.append(compress(b"".join(plain)))
            ready_size += len(ready[-1])
            plain, plain_size = [], 0
        if isinstance(piece, Compressed):
            ready.append(piece.data)
            ready_size += len(piece.data)
        if ready_size >= _ENOUGH:
            yield b"".join(ready)
            ready, ready_size = [], 0
    yield b"".join([*ready, compress(b"".join(plain))] if plain else ready)
