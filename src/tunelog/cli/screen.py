"""What the commands write on: the terminal's size, waiting signs, raw answers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from tunelog.backends.remote import RemoteStore

PATIENCE = 1.0
"""Seconds after which someone who waits is shown that something happens."""

NARROWEST = 40
WIDEST = 120


def console() -> Console:
    """Standard output; in a pipe its lines are not cut to a terminal's width."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(
        markup=False, emoji=False, highlight=False, soft_wrap=True, width=10_000 if piped else None
    )


def chart_width() -> int:
    """Columns of a chart: the terminal's, 80 in a pipe."""
    return min(max(Console().width, NARROWEST), WIDEST)


def plain(text: str) -> str:
    """Text without characters that a terminal would take for orders."""
    return "".join(c if c.isprintable() else "�" for c in text)


@contextmanager
def waiting(what: str, total: int | None = None) -> Iterator[Progress]:
    """Show on standard error, if that is a terminal, that something takes its time."""
    columns = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns += [BarColumn(), TaskProgressColumn()]
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task(what, total=total)
    if not sys.stderr.isatty():
        yield progress
        return
    start = threading.Timer(PATIENCE, progress.start)
    start.start()
    try:
        yield progress
    finally:
        start.cancel()
        start.join()
        progress.stop()


def pass_through(
    store: RemoteStore, path: str, parameters: Mapping[str, str], accept: str = "application/json"
) -> None:
    """Print an answer of the service, byte for byte, as it comes."""
    with store.stream(path, parameters, accept) as response:
        total = int(response.headers.get("tunelog-returned", 0)) or None
        to_screen = sys.stdout.isatty()
        with waiting("receiving", None if to_screen else total) as progress:
            last = _write(response.iter_bytes(), progress)
        if to_screen and not last.endswith(b"\n"):
            _write([b"\n"], progress)


def _write(chunks: Iterable[bytes], progress: Progress) -> bytes:
    """Write chunks to standard output; answers the last of them."""
    last = b""
    for last in chunks:
        sys.stdout.buffer.write(last)
        progress.advance(progress.task_ids[0], last.count(b"\n"))  # a row ends with a line
    sys.stdout.buffer.flush()
    return last
