"""Load from several processes at once, so that no client is the bottleneck."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from typing import Any, TypeVar

from msgspec import Struct

from bench.clients import Connection, closed_loop, get, post
from bench.data import BATCH, train_snapshots
from bench.questions import unasked
from tunelog.model import Batch
from tunelog.wire.snapshots import decode_receipt, encode_batch

Work = TypeVar("Work")


class Outcome(Struct, frozen=True):
    """What a process did: between when and when (monotonic), and how long each answer took."""

    begun: float
    ended: float
    latencies: list[float]


class Asking(Struct, frozen=True):
    """The same GET over and over, on some connections; `varied`: each time at another address."""

    port: int
    path: str
    key: str
    connections: int
    most: int
    seconds: float
    varied: bool = False

    def prepare(self) -> Callable[[], list[float]]:
        """Everything but the requests themselves."""
        requests = [[self._request() for _ in range(self.most)] for _ in range(self.connections)]
        return lambda: closed_loop(self.port, requests, self.seconds)

    def _request(self) -> bytes:
        return get(unasked(self.path) if self.varied else self.path, self.key)


class Writing(Struct, frozen=True):
    """Batches of 1,000 of one writer, one after another on one connection."""

    port: int
    key: str
    job: str
    writer: int
    first_step: int
    batches: int

    def prepare(self) -> Callable[[], list[float]]:
        """Write the bodies; the calls send them."""
        firsts = [self.first_step + i * BATCH for i in range(self.batches)]
        requests = [
            post(f"/v1/fine-tunes/{self.job}/metrics", self.key, self._body(first))
            for first in firsts
        ]
        connection = Connection(self.port, keep=True)
        return lambda: [self._send(connection, request) for request in requests]

    def _body(self, first: int) -> bytes:
        snapshots = train_snapshots(first, BATCH, self.writer)
        return encode_batch(
            Batch(snapshots=snapshots, attempt=1, writer=self.writer, first_seq=first)
        )

    def _send(self, connection: Connection, request: bytes) -> float:
        begun = time.perf_counter()
        answer = connection.ask(request)
        taken = time.perf_counter() - begun
        if answer.status != 200 or decode_receipt(answer.body).stored != BATCH:
            raise RuntimeError(f"answered {answer.status} {answer.body!r}")
        return taken


class Trickling(Struct, frozen=True):
    """Clients that post single snapshots, each of a job of its own."""

    port: int
    key: str
    jobs: Sequence[str]
    first_step: int
    most: int
    seconds: float

    def prepare(self) -> Callable[[], list[float]]:
        """Write the bodies; the call sends them."""
        steps = range(self.first_step, self.first_step + self.most)
        bodies = [
            encode_batch(Batch(snapshots=train_snapshots(step, 1), attempt=1, first_seq=step))
            for step in steps
        ]
        requests = [
            [post(f"/v1/fine-tunes/{job}/metrics", self.key, body) for body in bodies]
            for job in self.jobs
        ]
        return lambda: closed_loop(self.port, requests, self.seconds)


def together(works: Sequence[Asking | Writing | Trickling]) -> list[Outcome]:
    """Do each work in a process of its own, all beginning when all are prepared."""
    context = multiprocessing.get_context("fork")  # this process has no threads while it measures
    pipes, processes = [], []
    for work in works:
        ours, theirs = context.Pipe()
        process = context.Process(target=_process, args=(work, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send("go")
    outcomes: list[Outcome] = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return outcomes


def _process(work: Asking | Writing | Trickling, pipe: Pipe[Any, Any]) -> None:
    call = work.prepare()
    pipe.send("ready")
    pipe.recv()
    begun = time.monotonic()
    latencies = call()
    pipe.send(Outcome(begun, time.monotonic(), latencies))


def wall(outcomes: Sequence[Outcome]) -> float:
    """Seconds from the first process's begin to the last one's end."""
    return max(o.ended for o in outcomes) - min(o.begun for o in outcomes)


def latencies(outcomes: Sequence[Outcome]) -> list[float]:
    """Every answer's seconds."""
    return [latency for outcome in outcomes for latency in outcome.latencies]
