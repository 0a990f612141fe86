"""The SQLite store in this process: no HTTP, no other process."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from bench.data import FEW, LARGE, SMALL, DataSet, logged_at
from bench.figures import Figure, Section, Taken, Yardstick, figure, repeat
from bench.goals import Goal
from bench.machine import Load, machine
from bench.plain import PlainTable
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import ALL, SnapshotQuery
from tunelog.store import Store

SAMPLED_GOAL = Goal("≤", 0.020)
SMALL_GOAL = Goal("≤", 0.001)
DISK_GOAL = Goal("≤", 25)


def measure(data: DataSet, load: Load) -> Section:
    """Every figure of the store; `load` began before the data set was stored."""
    backend = SqliteBackend(data.path)
    plain = PlainTable(data.plain_path)
    try:
        store = backend.store(backend.create_project("default"))
        figures = [
            *_ingest(data),
            *_whole(store, plain),
            *_sampled(store),
            *_parts(store, data),
            *_walks(store),
            *_disk(data),
        ]
    finally:
        backend.close()
        plain.close()
    title = f"Store: SQLite, in process, {data.steps:,} train snapshots of five metrics"
    return Section(title, figures, machine(), load.so_far())


def _ingest(data: DataSet) -> list[Figure]:
    yardsticks = [
        Yardstick("executemany, 1,000 a commit", median(data.table_rates)),
        Yardstick("append and fsync, a batch each", median(data.file_rates)),
    ]
    name = "in process: ingest, 1,000 a batch, each durable"
    return [figure(name, "/s", data.rates, cpu=data.cpu, yardsticks=yardsticks)]


def _whole(store: Store, plain: PlainTable) -> list[Figure]:
    large = _taken_whole(store, plain, LARGE, 1)
    small = _taken_whole(store, plain, SMALL, 2, most=500)
    return [
        _read("full read of the large job", large),
        _read("full read of a 1,000-step job", small, SMALL_GOAL),
    ]


def _taken_whole(store: Store, plain: PlainTable, job: str, number: int, most: int = 15) -> Taken:
    """Beside the plain table's lines of the same job, and a copy of as many bytes in memory."""
    held = bytearray(_consumed(store, job, ALL))
    return repeat(
        lambda: _consumed(store, job, ALL),
        lambda: plain.read(number),
        lambda: bytes(held),
        most=most,
    )


def _read(name: str, taken: Taken, goal: Goal | None = None) -> Figure:
    names = ("SELECT of the lines alone", "memcpy")
    yardsticks = [
        Yardstick(name, median(seconds)) for name, seconds in zip(names, taken.beside, strict=False)
    ]
    goals = [] if goal is None else [goal]
    name = f"in process: {name}"
    return figure(name, "s", taken.seconds, goals=goals, cpu=taken.cpu, yardsticks=yardsticks)


def _sampled(store: Store) -> list[Figure]:
    loss = ("train/loss",)
    queries = {
        "resolution=100": SnapshotQuery(resolution=100),
        "resolution=1000": SnapshotQuery(resolution=1000),
        "resolution=100&keys=train/loss": SnapshotQuery(resolution=100, keys=loss),
    }
    return [
        _read(name, _reads(store, query), SAMPLED_GOAL if i == 0 else None)
        for i, (name, query) in enumerate(queries.items())
    ]


def _parts(store: Store, data: DataSet) -> list[Figure]:
    middle = data.steps // 2
    cursor = int(store.read(LARGE, SnapshotQuery(resolution=0)).cursor)
    queries = {
        "tail: the last 10 steps": SnapshotQuery(global_step_from=data.steps - 10),
        "step window: 1,000 in the middle": SnapshotQuery(
            global_step_from=middle, global_step_to=middle + 999
        ),
        "time window: the same 1,000": SnapshotQuery(
            logged_at_from=logged_at(middle), logged_at_to=logged_at(middle + 999)
        ),
        "after=: the last 10 arrivals": SnapshotQuery(after=str(cursor - 10)),
        "after=: the last 10,000 arrivals": SnapshotQuery(after=str(cursor - 10_000)),
    }
    return [_read(name, _reads(store, query, most=100)) for name, query in queries.items()]


def _walks(store: Store) -> list[Figure]:
    """What looks at every row."""
    keys = SnapshotQuery(keys=("train/loss",))
    minmax = SnapshotQuery(resolution=1000, sampling="minmax", keys=("train/loss",))
    calls: dict[str, Callable[[], object]] = {
        "keys=train/loss, every row": lambda: _consumed(store, LARGE, keys),
        "summary": lambda: store.summarize(LARGE),
        "sampling=minmax&resolution=1000&keys=train/loss": lambda: _consumed(store, LARGE, minmax),
    }
    return [_read(name, repeat(call, warm=True)) for name, call in calls.items()]


def _disk(data: DataSet) -> list[Figure]:
    plain = Yardstick("the plain table", data.plain_path.stat().st_size / data.steps)
    return [
        figure(
            "bytes on disk for a snapshot, after a rest and a clean stop",
            "B",
            [data.disk],
            goals=[DISK_GOAL],
            yardsticks=[plain],
        ),
        figure(
            f"bytes on disk for a snapshot of {len(data.many):,} jobs of {FEW}",
            "B",
            [data.many_disk],
            yardsticks=[plain],
        ),
    ]


def _reads(store: Store, query: SnapshotQuery, *, most: int = 15) -> Taken:
    return repeat(lambda: _consumed(store, LARGE, query), most=most)


def _consumed(store: Store, job: str, query: SnapshotQuery) -> int:
    return sum(map(len, store.read(job, query).chunks))
