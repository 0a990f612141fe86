"""Reading one very long job among thousands of others from a cluster, beside the engine itself.

The engine's own time is that of one plain statement, on one connection to one replica, for the
same rows or the same bytes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.clients import Connection, get, post
from bench.cluster import Clustered, clustered
from bench.data import BATCH, DETAILS, LARGE, SMALL, batches
from bench.figures import Figure, Section, Yardstick, figure, repeat
from bench.goals import Goal
from bench.machine import Load, machine
from bench.questions import metrics, unasked
from tunelog.backends.clickhouse import ClickHouseBackend, ClickHouseStore, records
from tunelog.model import ALL, Batch, Receipt, SnapshotQuery

FETCH, ENGINE = "the engine fetches the same rows", "the engine gives the same bytes"
SAMPLED_GOAL: Final = Goal("≤", 1.5, FETCH)
FULL_GOAL: Final = Goal("≤", 1.3, ENGINE)
SMALL_GOAL: Final = Goal("≤", 0.010)
DISK_GOAL: Final = Goal("≤", 100)
SAMPLE: Final = SnapshotQuery(resolution=100)
_UNDER_WAY: Final = 64
"""Batches that are being written at once."""


def measure(folder: Path, steps: int, others: int) -> Section:
    """Figures of a job of so many steps among so many others of a thousand, on two shards."""
    load = Load()
    with clustered(folder, 2, 2) as place:
        backend = ClickHouseBackend(place.url)
        project = backend.create_project("default")
        store = backend.store(project)
        print(f"storing {steps + others * BATCH:,} snapshots on 2x2", file=sys.stderr)
        _fill(store, steps, others)
        place.merge()
        number = records.number(project.id, LARGE)
        engine = _Engine(place, backend.shards.index(backend.shard(number)) + 1, number)
        figures = [
            *_in_process(store, engine),
            *_served(place),
            figure(
                "bytes on disk for a snapshot of five metrics, on each replica",
                "B",
                [place.disk()],
                goals=[DISK_GOAL],
            ),
        ]
        engine.close()
        backend.close()
    title = f"Cluster: 2x2, {steps:,} train snapshots in one job, {others:,} other jobs of 1,000"
    return Section(title, figures, machine(), load.so_far())


def _fill(store: ClickHouseStore, steps: int, others: int) -> None:
    def small(number: int) -> None:
        job = f"ft-bench-other-{number:05}" if number else SMALL
        store.create_job(DETAILS, job)
        for batch in _batches(BATCH):
            store.append(job, batch)

    store.create_job(DETAILS, LARGE)
    waiting: deque[Future[Receipt]] = deque()
    for batch in _batches(steps):
        waiting.append(store.submit(LARGE, batch))
        if len(waiting) > _UNDER_WAY:
            waiting.popleft().result()
    for future in waiting:
        future.result()
    with ThreadPoolExecutor(_UNDER_WAY) as pool:
        list(pool.map(small, range(others)))


def _batches(steps: int) -> Iterator[Batch]:
    seq = 0
    for snapshots in batches(steps):
        yield Batch(snapshots=snapshots, attempt=1, first_seq=seq)
        seq += len(snapshots)


class _Engine:
    """One replica of the large job's shard, asked as plainly as can be."""

    def __init__(self, place: Clustered, shard: int, number: int) -> None:
        self._connection = Connection(place.cluster.port(shard, 1), keep=True)
        self._job = f"job = {number}"

    def rows(self, picked: bytes) -> Callable[[], int]:
        """Fetches the train snapshots logged at these moments by their keys, and the eval ones."""
        moments = ", ".join(
            str(row["timestamp"])
            for row in msgspec.json.decode(b"[" + picked + b"]")
            if "train/loss" in row
        )
        where = f"{self._job} AND kind = 0 AND logged_at IN ({moments})"
        keys = self.ask(f"SELECT attempt, writer, seq FROM snapshot WHERE {where}").splitlines()
        listed = ", ".join(f"({key.decode()})".replace("\t", ", ") for key in keys)
        sql = (
            f"SELECT line FROM snapshot PREWHERE {self._job} AND (kind = 1 OR kind = 0"
            f" AND (attempt, writer, seq) IN ({listed})) ORDER BY logged_at FORMAT TabSeparatedRaw"
        )
        return lambda: len(self.ask(sql))

    def all(self) -> int:
        """The whole job, in order."""
        sql = f"SELECT line FROM snapshot PREWHERE {self._job} ORDER BY logged_at, attempt, writer"
        return len(self.ask(f"{sql}, seq FORMAT TabSeparatedRaw"))

    def ask(self, sql: str) -> bytes:
        """A statement's answer."""
        answer = self._connection.ask(post("/?database=tunelog", "", sql.encode()))
        if answer.status != 200:
            raise RuntimeError(answer.body.decode())
        return answer.body

    def close(self) -> None:
        """Hang up."""
        self._connection.socket.close()


def _in_process(store: ClickHouseStore, engine: _Engine) -> Iterator[Figure]:
    rows = engine.rows(b"".join(store.read(LARGE, SAMPLE).chunks))
    yield _beside("in process: resolution=100 of the large job", store, SAMPLE, FETCH, rows)
    yield _beside("in process: full read of the large job", store, ALL, ENGINE, engine.all)
    small = repeat(lambda: _size(store, SMALL, ALL), most=200)
    name = "in process: full read of a 1,000-step job"
    yield figure(name, "s", small.seconds, goals=[SMALL_GOAL], cpu=small.cpu)


def _beside(
    name: str, store: ClickHouseStore, query: SnapshotQuery, what: str, engine: Callable[[], int]
) -> Figure:
    if engine() < _size(store, LARGE, query) // 2:
        raise RuntimeError("the engine was asked for something else")
    taken = repeat(lambda: _size(store, LARGE, query), engine, most=40, seconds=10)
    (own,) = taken.beside
    return figure(
        name,
        "s",
        taken.seconds,
        goals=[SAMPLED_GOAL if what == FETCH else FULL_GOAL],
        cpu=taken.cpu,
        yardsticks=[Yardstick(what, median(own))],
    )


def _size(store: ClickHouseStore, job: str, query: SnapshotQuery) -> int:
    return sum(map(len, store.read(job, query).chunks))


def _served(place: Clustered) -> Iterator[Figure]:
    """What the service takes, no address asked twice."""
    for name, path, most in (
        ("full read of a 1,000-step job", metrics(SMALL), 200),
        ("resolution=100 of the large job", metrics(LARGE, "resolution=100"), 40),
        ("full read of the large job", metrics(LARGE), 5),
    ):
        server = place.services[0]
        with Connection(server.port) as connection:

            def ask(path: str = path, connection: Connection = connection) -> None:
                if connection.ask(get(unasked(path), place.key)).status != 200:
                    raise RuntimeError(path)

            used = server.cpu_seconds()
            taken = repeat(ask, most=most, seconds=10, warm=True)
            used = (server.cpu_seconds() - used) / len(taken.seconds)
        yield figure(f"served: {name}", "s", taken.seconds, cpu=used)
