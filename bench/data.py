"""The data set: jobs of very different sizes in one store file.

Values have six significant digits, noise in most of them, as a real trainer's log; timestamps have
a jitter in nanoseconds. While the largest job is stored, the same rows go into a plain SQLite table
and a plain file, batch by batch, so that all see the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.plain import PlainFile, PlainTable, plain_rows
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch, JobDetails, Snapshot
from tunelog.store import Store

BATCH = 1000
BEGIN = 1_767_225_600_000_000_000
SECOND = 1_000_000_000
JITTER = 20_000_000
LARGE, SMALL, WIDE = "ft-bench-large", "ft-bench-1000", "ft-bench-wide"
COMPARED = [f"ft-bench-compared-{number:02}" for number in range(50)]
"""Fifty jobs of a thousand steps, to be read in one call."""

FEW = 10
"""Snapshots of each of the many small jobs."""

EVALS = 10
"""Eval snapshots of each of the long jobs, whatever its length."""

DETAILS = JobDetails(model="Qwen/Qwen3-0.6B")
_SAMPLES = 20
_WRITERS = 16


def train_snapshots(first: int, count: int, rank: int = 0) -> list[Snapshot]:
    """A snapshot a second, five metrics each."""
    return [_train(step, rank) for step in range(first, first + count)]


def wide_snapshots(count: int, metrics: int) -> list[Snapshot]:
    """Snapshots of so many metrics each."""
    return [
        Snapshot("train", step, logged_at(step), _wide_values(step, metrics))
        for step in range(count)
    ]


def logged_at(step: int) -> int:
    """When a step was logged by rank 0; other ranks are a millisecond later each."""
    return BEGIN + step * SECOND + _scattered(step, 0) % JITTER


def _train(step: int, rank: int) -> Snapshot:
    bits = _scattered(step, rank + 1)
    noise, jumps, load = (((bits >> shift) % (1 << 21)) / (1 << 20) - 1 for shift in (0, 21, 42))
    values: dict[str, int | float] = {
        "train/loss": _six(0.6 + 2.4 / (1 + step / 5000) + 0.05 * noise),
        "train/learning_rate": _six(2e-4 * (1 - step / 2_000_000)),
        "train/grad_norm": _six(1.2 + 0.4 * jumps),
        "train/epoch": _six(step / 333_333),
        "train/tokens_per_second": _six(12_345.6 + 700 * load),
    }
    return Snapshot("train", step, logged_at(step) + rank * 1_000_000, values)


def _eval(step: int) -> Snapshot:
    values: dict[str, int | float] = {"eval/loss": _six(0.7 + 2.4 / (1 + step / 5000))}
    return Snapshot("eval", step, logged_at(step) + SECOND // 2, values)


def _wide_values(step: int, metrics: int) -> dict[str, int | float]:
    return {
        f"train/layer_{metric:02}/grad_norm": _six(_scattered(step, metric) / 2**63)
        for metric in range(metrics)
    }


def _six(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def _scattered(step: int, salt: int) -> int:
    """63 bits that look random, always the same of the same (splitmix64)."""
    mask = (1 << 64) - 1
    bits = (step * 0x9E3779B97F4A7C15 + (salt + 1) * 0xD1342543DE82EF95) & mask
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return (bits ^ bits >> 31) >> 1


class DataSet:
    """A store file, the largest job in plain forms beside it, and how fast they came to be.

    Attributes:
        steps: train snapshots of the largest job.
        jobs: the jobs with snapshots of five metrics, by their number of train snapshots.
        many: the ids of the many small jobs.
        path, plain_path: the store, and the plain table.
        secret: an API key that may do everything.
        cpu: CPU seconds of this process for a snapshot stored in the store.
        rates, table_rates, file_rates: snapshots a second, in batches of 1,000, of the store, the
            plain table and the plain file; twenty samples of each.
        disk: bytes of the file for a snapshot, once it had rested, with the largest job alone.
        many_disk: the same of the many small jobs, beyond what was there before.
    """

    def __init__(self, folder: Path, sizes: Sequence[int], many: int) -> None:
        """`sizes` of the jobs of five metrics, and how many small jobs there are."""
        self.steps = max(sizes)
        self.jobs = {size: f"ft-bench-{size}" for size in sizes} | {self.steps: LARGE}
        self.many = [f"ft-bench-many-{number:05}" for number in range(many)]
        self.path, self.plain_path = folder / "tunelog.db", folder / "plain.db"
        self.cpu = 0.0
        self.rates: list[float] = []
        self.table_rates: list[float] = []
        self.file_rates: list[float] = []
        backend = SqliteBackend(self.path)
        _, self.secret = backend.create_key(backend.create_project("default"), ["admin"])
        backend.close()
        self._largest(folder)
        size = self.path.stat().st_size
        self.disk = size / snapshots_of(self.steps)
        self._others()
        before = self.path.stat().st_size
        self._many()
        self.many_disk = (self.path.stat().st_size - before) / (many * FEW)

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        """The store, for the time of a `with`, and until the packing behind the ingest is done."""
        backend = SqliteBackend(self.path)
        yield backend.store(backend.create_project("default"))
        idle = 0
        while idle < 3:
            begun = time.process_time()
            time.sleep(0.2)
            idle = idle + 1 if time.process_time() - begun < 0.01 else 0
        backend.close()

    def _largest(self, folder: Path) -> None:
        table, file = PlainTable(self.plain_path), PlainFile(folder / "plain.lines")
        with self._opened() as store:
            store.create_job(DETAILS, LARGE)
            self._fill(store, table, file)
        table.insert(plain_rows(2, 0, train_snapshots(0, 1000)))
        table.close()
        file.close()

    def _fill(self, store: Store, table: PlainTable, file: PlainFile) -> None:
        """Samples of the rates are of a twentieth of the job each."""
        taken = [0.0, 0.0, 0.0]
        seq = stored = 0
        for snapshots in batches(self.steps):
            rows = plain_rows(1, seq, snapshots)
            begun, cpu = time.perf_counter(), time.process_time()
            store.append(LARGE, Batch(snapshots=snapshots, first_seq=seq))
            taken[0] += time.perf_counter() - begun
            self.cpu += (time.process_time() - cpu) / self.steps
            taken[1] += table.insert(rows)
            taken[2] += file.append(b"\n".join([row[3] for row in rows]))
            seq += len(snapshots)
            stored += len(snapshots)
            if stored >= self.steps / _SAMPLES:
                rates = (self.rates, self.table_rates, self.file_rates)
                for of_it, seconds in zip(rates, taken, strict=True):
                    of_it.append(stored / seconds)
                taken, stored = [0.0, 0.0, 0.0], 0

    def _others(self) -> None:
        sizes = {job: size for size, job in self.jobs.items() if job != LARGE}
        with self._opened() as store:
            for job, size in {**sizes, **dict.fromkeys(COMPARED, 1000)}.items():
                store.create_job(DETAILS, job)
                for snapshots in batches(size):
                    store.append(job, Batch(snapshots=snapshots))
            store.create_job(DETAILS, WIDE)
            store.append(WIDE, Batch(snapshots=wide_snapshots(100, 100)))

    def _many(self) -> None:
        def one(number: int) -> None:
            store.create_job(DETAILS, self.many[number])
            store.append(self.many[number], Batch(snapshots=train_snapshots(number, FEW)))

        with self._opened() as store, ThreadPoolExecutor(_WRITERS) as writers:
            list(writers.map(one, range(len(self.many))))


def batches(steps: int) -> Iterator[list[Snapshot]]:
    """The snapshots of a job of so many steps, a thousand train snapshots at a time."""
    every = max(1, steps // EVALS)
    for first in range(0, steps, BATCH):
        count = min(BATCH, steps - first)
        snapshots = train_snapshots(first, count)
        evals = [_eval(step) for step in range(first, first + count) if step % every == 0]
        yield sorted([*snapshots, *evals], key=lambda snapshot: snapshot.logged_at)


def snapshots_of(steps: int) -> int:
    """All snapshots of such a job, eval snapshots among them."""
    return steps + len(range(0, steps, max(1, steps // EVALS)))
