"""The data set: a job of a million train snapshots and a job of a thousand, in one store file.

While it is stored, the same rows go into a plain SQLite table, batch by batch, so that both see the
same machine.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch, JobDetails, Snapshot
from tunelog.store import Store
from tunelog.wire.snapshots import encode_snapshots

BATCH = 1000
BEGIN = 1_767_225_600_000_000_000
SECOND = 1_000_000_000
LARGE, SMALL = "ft-bench-large", "ft-bench-small"
DETAILS = JobDetails(model="Qwen/Qwen3-0.6B")
_SAMPLES = 20


def train_snapshots(first: int, count: int, rank: int = 0) -> list[Snapshot]:
    """A snapshot a second, five metrics each; the digits are those of a real trainer's log."""
    return [_train(step, rank) for step in range(first, first + count)]


def logged_at(step: int) -> int:
    """When a step was logged by rank 0; other ranks are a millisecond later each."""
    return BEGIN + step * SECOND + step * 7919 % 1_000_000


def _train(step: int, rank: int) -> Snapshot:
    noise = math.sin(step * 12.9898 + rank)
    values: dict[str, int | float] = {
        "train/loss": round(0.6 + 2.4 / (1 + step / 5000) + 0.05 * noise, 4),
        "train/learning_rate": round(2e-4 * (1 - step / 2_000_000), 12),
        "train/grad_norm": round(1.2 + 0.4 * noise, 6),
        "train/epoch": round(step / 333_333, 5),
        "train/tokens_per_second": round(12_345.6 + 700 * noise, 2),
    }
    return Snapshot("train", step, logged_at(step) + rank * 1_000_000, values)


def _eval(step: int) -> Snapshot:
    values: dict[str, int | float] = {"eval/loss": round(0.7 + 2.4 / (1 + step / 5000), 4)}
    return Snapshot("eval", step, logged_at(step) + SECOND // 2, values)


class PlainTable:
    """The yardstick: the rows' text in one SQLite table, by nothing but the driver.

    WAL and `synchronous=FULL`, as the store has it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if it is not there."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS row"
            " (job INTEGER, logged_at INTEGER, seq INTEGER, line BLOB,"
            " PRIMARY KEY (job, logged_at, seq)) WITHOUT ROWID"
        )

    def insert(self, rows: Iterable[tuple[int, int, int, bytes]]) -> float:
        """Commit (job, logged_at, seq, line) together; answer the seconds it took."""
        begun = time.perf_counter()
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO row VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")
        return time.perf_counter() - begun

    def read(self, job: int) -> int:
        """Every line of a job in order, joined a thousand at a time; answers the bytes."""
        cursor = self._connection.execute(
            "SELECT line FROM row WHERE job = ? ORDER BY logged_at, seq", (job,)
        )
        size = 0
        while lines := cursor.fetchmany(BATCH):
            size += len(b",\n".join([line for (line,) in lines]))
        return size

    def close(self) -> None:
        """Put everything into the one file and let go of it."""
        self._connection.close()


def plain_rows(
    job: int, first_seq: int, snapshots: Sequence[Snapshot]
) -> list[tuple[int, int, int, bytes]]:
    """The rows of a plain table."""
    lines = encode_snapshots(snapshots)
    return [
        (job, snapshot.logged_at, first_seq + i, line)
        for i, (snapshot, (line, _)) in enumerate(zip(snapshots, lines, strict=True))
    ]


class DataSet:
    """Two jobs in a store file, the same in a plain table, and how fast they came to be.

    Attributes:
        steps: train snapshots of the large job.
        snapshots: all snapshots of the large job.
        path, plain_path: the two files.
        secret: an API key that may do everything.
        cpu: CPU seconds of this process for a snapshot stored in the store.
        rates, plain_rates: snapshots a second, twenty samples of each, in batches of 1,000.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.steps, self.snapshots = steps, 0
        self.path, self.plain_path = folder / "tunelog.db", folder / "plain.db"
        self.cpu = 0.0
        self.rates: list[float] = []
        self.plain_rates: list[float] = []
        backend = SqliteBackend(self.path)
        plain = PlainTable(self.plain_path)
        project = backend.create_project("default")
        _, self.secret = backend.create_key(project, ["admin"])
        store = backend.store(project)
        store.create_job(DETAILS, LARGE)
        store.create_job(DETAILS, SMALL)
        self._fill(store, plain)
        store.append(SMALL, Batch(snapshots=train_snapshots(0, 1000), first_seq=0))
        plain.insert(plain_rows(2, 0, train_snapshots(0, 1000)))
        backend.close()
        plain.close()

    def _fill(self, store: Store, plain: PlainTable) -> None:
        eval_every = max(BATCH, self.steps // 1000)
        taken = plain_taken = stored = 0.0
        seq = 0
        for first in range(0, self.steps, BATCH):
            snapshots = train_snapshots(first, min(BATCH, self.steps - first))
            if first % eval_every == 0:
                snapshots.append(_eval(first))
            rows = plain_rows(1, seq, snapshots)
            begun, cpu = time.perf_counter(), time.process_time()
            store.append(LARGE, Batch(snapshots=snapshots, first_seq=seq))
            taken += time.perf_counter() - begun
            self.cpu += (time.process_time() - cpu) / self.steps
            plain_taken += plain.insert(rows)
            seq += len(snapshots)
            self.snapshots = seq
            stored += len(snapshots)
            if stored >= self.steps / _SAMPLES:
                self.rates.append(stored / taken)
                self.plain_rates.append(stored / plain_taken)
                taken = plain_taken = stored = 0.0
