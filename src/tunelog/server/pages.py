"""The page: its files, served from memory.

A file is served under the very name that it has in the package, so no path can lead elsewhere;
beside them only `joined.js` and `joined.css`, which are all scripts and all stylesheets. The index
asks for a file by what is in it (`?v=…`), and such an answer is kept by the browser for good; any
other is revalidated by ETag.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import chain
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tunelog.server.answers import preferred, streamed
from tunelog.server.errors import status_response
from tunelog.server.joining import join

FOLDER = resources.files(__package__) / "page"
INDEX = "index.html"
MAIN = "main.js"
JOINED = "joined.js"
LIBRARY = "vendor/uplot/uPlot.iife.min.js"
STYLES = ("vendor/uplot/uPlot.min.css", "style.css")
JOINED_STYLES = "joined.css"

SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_SMALL = 1024
"""Bytes below which compression is not worth its header."""

_VERSION = 16
"""Digits of a file's tag in its address."""

_ADDRESS = re.compile(r'(?<=")/page/([^"?]+)(?=")')


class File(NamedTuple):
    """A file of the page, and as it is sent to who accepts gzip; None if that is not shorter."""

    media_type: str
    plain: bytes
    packed: bytes | None
    tag: str


Draft = Callable[[Request], Iterator[bytes] | None]
"""Gives what is to be at the end of the index, made while it is sent."""


def page_routes(folder: Traversable = FOLDER, draft: Draft = lambda _: None) -> list[Route]:
    """`/` and `/page/…`, of the files in this folder; `draft` is asked at each request of `/`."""

    load = cache(lambda: files(folder))  # at the first request, so that a start is quick

    async def get_page(request: Request) -> Response:
        known = await run_in_threadpool(load)
        found = draft(request) if INDEX in known else None
        if found is None:
            return _file(request, known, INDEX)
        request.state.operation = "get_page"
        return _drafted(request, known[INDEX], found)

    async def get_page_file(request: Request) -> Response:
        return _file(request, await run_in_threadpool(load), request.path_params["file"])

    return [
        Route("/", get_page, methods=["GET"]),
        Route("/page/{file:path}", get_page_file, methods=["GET"]),
    ]


def _file(request: Request, known: Mapping[str, File], name: str) -> Response:
    request.state.operation = "get_page"
    found = known.get(name)
    if found is None:
        if name == INDEX:  # an installation without the page
            return RedirectResponse("/docs")
        return status_response(404, f"there is no {request.url.path}")
    return _answer(request, found)


def _drafted(request: Request, index: File, draft: Iterator[bytes]) -> Response:
    """The index with a draft: what is there already is sent before the draft is begun."""
    head, end, tail = index.plain.rpartition(b"</body>")
    headers = {**SAFE, "Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    rest = chain(draft, [end + tail])
    if preferred(request.headers.get("accept-encoding", ""), ("gzip",)):
        headers["Content-Encoding"] = "gzip"
        return streamed(_packed(head, rest), headers, index.media_type)
    return streamed(chain([head], rest), headers, index.media_type)


def _packed(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Both in gzip, and the head such that it can be read before the rest is there."""
    stream = zlib.compressobj(level=1, wbits=31)
    yield stream.compress(head) + stream.flush(zlib.Z_SYNC_FLUSH)
    for chunk in rest:
        if part := stream.compress(chunk):
            yield part
    yield stream.flush()


def _answer(request: Request, file: File) -> Response:
    accepts = preferred(request.headers.get("accept-encoding", ""), ("gzip",))
    content, tag = file.plain, f'"{file.tag}"'
    asked_by_content = request.url.query == f"v={file.tag[:_VERSION]}"
    kept = "public, max-age=31536000, immutable" if asked_by_content else "no-cache"
    headers = {**SAFE, "Cache-Control": kept}
    if file.packed is not None:
        headers["Vary"] = "Accept-Encoding"
        if accepts:
            content, tag = file.packed, f'"{file.tag}-gzip"'
            headers["Content-Encoding"] = "gzip"
    headers["ETag"] = tag
    seen = request.headers.get("if-none-match", "").split(",")
    if {tag, "*"} & {name.strip().removeprefix("W/") for name in seen}:
        headers.pop("Content-Encoding", None)
        return Response(None, 304, headers)
    return Response(content, headers=headers, media_type=file.media_type)


def files(folder: Traversable) -> Mapping[str, File]:
    """Every file that is served, by its path: those of a folder, and its modules joined."""
    found = dict(_walk(folder, "")) if folder.is_dir() else {}
    if MAIN in found:
        found |= _joined(found)
    known = {name: _file_of(name, content) for name, content in found.items()}
    if INDEX in known:
        known[INDEX] = _file_of(INDEX, _by_content(found[INDEX], known))
    return known


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _walk(entry, name + "/")
        elif not entry.name.startswith((".", "__")):
            yield name, entry.read_bytes()


def _joined(found: Mapping[str, bytes]) -> dict[str, bytes]:
    modules = {name: found[name].decode() for name in found if name.endswith(".js")}
    script, source_map = join(modules, MAIN, modules[LIBRARY])
    script += f"//# sourceMappingURL={JOINED}.map\n"
    return {
        JOINED: script.encode(),
        f"{JOINED}.map": source_map.encode(),
        JOINED_STYLES: b"\n".join(found[name] for name in STYLES),
    }


def _by_content(index: bytes, known: Mapping[str, File]) -> bytes:
    """The index with each of its addresses naming the content that it means."""

    def versioned(found: re.Match[str]) -> str:
        file = known.get(found[1])
        return found[0] if file is None else f"{found[0]}?v={file.tag[:_VERSION]}"

    return _ADDRESS.sub(versioned, index.decode()).encode()


def _file_of(name: str, content: bytes) -> File:
    suffix = "." + name.rpartition(".")[2].lower()
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    media_type = _TYPES.get(suffix, guessed)
    packed = gzip.compress(content, 9, mtime=0) if len(content) >= _SMALL else content
    tag = hashlib.sha256(content).hexdigest()[:32]
    smaller = len(packed) < 0.9 * len(content)
    return File(media_type, content, packed if smaller else None, tag)
