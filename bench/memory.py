"""How much memory of its own a service takes for a single request, beyond what it has when idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench import questions
from bench.clients import Connection, get, post
from bench.data import LARGE, DataSet, train_snapshots
from bench.figures import Figure, Section, Yardstick, figure
from bench.goals import Goal
from bench.machine import Load, machine
from bench.processes import tunelog_server
from tunelog.model import Batch
from tunelog.wire.snapshots import encode_batch

GOAL = Goal("≤", 100e6)
MOST_ROWS = 100_000
"""That a batch may have, unless the operator says otherwise."""

_STALL = 2.0
_SLOW_BYTES_PER_SECOND = 30e6

Asking = Callable[[Connection], int]
"""Sends a request, takes the answer, and says how many bytes the larger of both is."""


def measure(data: DataSet) -> Section:
    """Each request on a service that has answered nothing before."""
    load = Load()
    figures = [_request(data, name, ask) for name, ask in _requests(data)]
    title = "The service's memory for a single request, beyond what it has when idle"
    return Section(title, figures, machine(), load.so_far())


def _request(data: DataSet, name: str, ask: Asking) -> Figure:
    with (
        tunelog_server(data.path) as server,
        Connection(server.port) as connection,
        server.watched() as most,
    ):
        size = ask(connection)
    yardsticks = [Yardstick("what was sent", size)]
    return figure(f"memory: {name}", "B", [most[0]], goals=[GOAL], yardsticks=yardsticks)


def _requests(data: DataSet) -> Iterator[tuple[str, Asking]]:
    full = questions.metrics(LARGE)
    steps = f"{data.steps:,} steps"
    for encoding in ("identity", "zstd", "gzip"):
        request = get(full, data.secret, accept_encoding=encoding)
        yield f"full read, {steps}, {encoding}", _asking(request)
    yield f"full read, {steps}, a slow reader", _slowly(get(full, data.secret))
    for accept in ("text/csv", "application/x-ndjson", "application/vnd.apache.parquet"):
        request = get(full, data.secret, accept=accept)
        yield f"full read, {steps}, {accept.rpartition('/')[2]}", _asking(request)
    for question, path in {
        **questions.comparable(LARGE, data.steps),
        **questions.others(LARGE, data.steps),
    }.items():
        if question != questions.FULL:
            yield f"{question}, {steps}", _asking(get(path, data.secret))
    body = encode_batch(Batch(snapshots=train_snapshots(0, MOST_ROWS), first_seq=0))
    written = post(questions.metrics(data.many[0]), data.secret, body)
    yield f"one batch of {MOST_ROWS:,} snapshots", _asking(written)


def _asking(request: bytes) -> Asking:
    def ask(connection: Connection) -> int:
        answer = connection.ask(request)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")
        return max(len(request), answer.size)

    return ask


def _slowly(request: bytes) -> Asking:
    """Stall first, then take the answer no faster than a bad line would."""

    def ask(connection: Connection) -> int:
        begun = time.perf_counter()
        received = 0

        def pace(size: int) -> None:
            nonlocal received
            received += size
            due = begun + _STALL + received / _SLOW_BYTES_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))

        answer = connection.ask(request, after=pace)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")
        return answer.size

    return ask
