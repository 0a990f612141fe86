"""Readings as answers: JSON, NDJSON, CSV or Parquet, compressed or not, streamed.

Everything here is made of iterators of bytes, run in a thread while the client takes the bytes, so
memory does not grow with the job.
"""

from __future__ import annotations

import asyncio
import csv
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
import zstandard
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from tunelog.model import ROW_SEPARATOR, Column, Compressed, Reading
from tunelog.wire.compressed import SEPARATOR
from tunelog.wire.compressed import zstd as zstd_stream
from tunelog.wire.snapshots import STEP, TIMESTAMP

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
EVENT_STREAM = "text/event-stream"
FORMATS = (JSON, NDJSON, CSV, PARQUET, EVENT_STREAM)

_SMALL = 1024
"""Bytes below which compression is not worth its header."""

Chunks = Iterator[bytes]


# ---------------------------------------------------------------- what the client wants


def preferred(header: str, offered: Sequence[str]) -> str | None:
    """The offered value that an Accept or Accept-Encoding header likes best; the first on a tie.

    A range such as `*/*`, `text/*` or `*` stands for all it covers (RFC 9110, 12.5). None when
    none is acceptable.
    """
    liking = {}
    for part in header.split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            liking[value] = float(quality)
        except ValueError:
            liking[value] = 0.0
    scores = [(_score(value, liking), value) for value in offered]
    best = max(score for score, _ in scores)
    return next(value for score, value in scores if score == best) if best > 0 else None


def _score(value: str, liking: Mapping[str, float]) -> float:
    for name in (value, value.partition("/")[0] + "/*", "*/*", "*"):
        if name in liking:
            return liking[name]
    return 0.0


# ---------------------------------------------------------------- formats


def json_rows(reading: Reading) -> Chunks:
    """`{"metrics": […]}`."""
    yield from _between(b'{"metrics":[', reading.chunks, b"]}")


def compressed_json_rows(reading: Reading) -> Chunks | None:
    """The same as a zstd stream, of which most is compressed already; None if nothing is."""
    if reading.pieces is None:
        return None
    return zstd_stream(_enclosed(reading.pieces))


def _enclosed(pieces: Iterator[bytes | Compressed]) -> Iterator[bytes | Compressed]:
    before: bytes | Compressed = b'{"metrics":['
    for piece in pieces:
        yield before
        yield piece
        before = Compressed(SEPARATOR)
    yield b"]}"


def told_json_rows(reading: Reading) -> Chunks:
    """The same, with what the headers of a single answer say: there are none for each of many."""
    told = {"matched": reading.matched, "returned": reading.returned, "cursor": reading.cursor}
    yield from _between(b'{"metrics":[', reading.chunks, b"]," + msgspec.json.encode(told)[1:])


def _between(head: bytes, chunks: Chunks, tail: bytes) -> Chunks:
    for chunk in chunks:
        yield head + chunk
        head = ROW_SEPARATOR
    yield (head if head is not ROW_SEPARATOR else b"") + tail


def ndjson_rows(reading: Reading) -> Chunks:
    """One row a line."""
    for chunk in reading.chunks:
        yield chunk.replace(ROW_SEPARATOR, b"\n") + b"\n"


def csv_rows(reading: Reading, columns: Sequence[Column]) -> Chunks:
    """A header and a line a row (RFC 4180); a metric that a row lacks is an empty field."""
    names = [TIMESTAMP, STEP, *(column.name for column in columns)]
    yield _csv([names])
    for rows in decoded_rows(reading):
        yield _csv([[row.get(name, "") for name in names] for row in rows])


def _csv(lines: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def decoded_rows(reading: Reading) -> Iterator[list[dict[str, int | float | str]]]:
    """The rows of each chunk, parsed."""
    for chunk in reading.chunks:
        yield msgspec.json.decode(b"[" + chunk + b"]")


def many_jobs(readings: Iterator[tuple[str, Chunks]]) -> Chunks:
    """`{"jobs": {id: answer, …}}`."""
    head = b'{"jobs":{'
    for job_id, answer in readings:
        yield head + msgspec.json.encode(job_id) + b":"
        yield from answer
        head = b","
    yield (head if head != b"," else b"") + b"}}"


# ---------------------------------------------------------------- answers


def answer(
    chunks: Chunks,
    media_type: str,
    accept_encoding: str,
    headers: Mapping[str, str] | None = None,
    compressed: Chunks | None = None,
) -> Response:
    """An answer of these bytes: at once if they are one chunk, streamed if more, compressed if
    the client likes that and they are not few.

    Args:
        chunks: the bytes.
        media_type: what they are.
        accept_encoding: the client's header.
        headers: to be sent along.
        compressed: the same as a zstd stream, if there is such; one of the two is consumed.
    """
    encoding = preferred(accept_encoding, ("zstd", "gzip")) if accept_encoding else None
    all_headers = {**(headers or {}), "Vary": "Accept, Accept-Encoding"}
    if encoding == "zstd" and compressed is not None:
        all_headers["Content-Encoding"] = encoding
        return streamed(compressed, all_headers, media_type)
    first, second = next(chunks, b""), next(chunks, None)
    if second is not None and len(first) + len(second) < 1 << 18:
        third = next(chunks, None)
        if third is None:
            first, second = first + second, None
        else:
            chunks = chain([third], chunks)
    small = second is None and len(first) < _SMALL
    chunks = chain([first], [] if second is None else [second], chunks)
    if encoding is not None and not small:
        all_headers["Content-Encoding"] = encoding
        chunks = _COMPRESSORS[encoding](chunks)
    if second is None:
        return Response(b"".join(chunks), headers=all_headers, media_type=media_type)
    return streamed(chunks, all_headers, media_type)


def streamed(chunks: Chunks, headers: Mapping[str, str], media_type: str) -> Response:
    """An answer that is sent while it is made."""
    return StreamingResponse(_ahead(chunks), headers=headers, media_type=media_type)


async def _ahead(chunks: Chunks) -> AsyncIterator[bytes]:
    """The chunks, the next being made in a thread while one is sent."""
    coming = asyncio.ensure_future(run_in_threadpool(next, chunks, None))
    try:
        while (chunk := await coming) is not None:
            coming = asyncio.ensure_future(run_in_threadpool(next, chunks, None))
            yield chunk
    finally:
        coming.cancel()


def _gzip(chunks: Chunks) -> Chunks:
    stream = zlib.compressobj(level=1, wbits=31)
    for chunk in chunks:
        if part := stream.compress(chunk):
            yield part
    yield stream.flush()


def _zstd(chunks: Chunks) -> Chunks:
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    for chunk in chunks:
        if part := stream.compress(chunk):
            yield part
    yield stream.flush()


_COMPRESSORS: Mapping[str, Callable[[Chunks], Chunks]] = {"gzip": _gzip, "zstd": _zstd}
