"""What only the SQLite backend has to promise: bounded memory, and deletes that cost little."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.conftest import Clock
from tests.store.samples import SECOND, T0, batch, rows, train
from tunelog.backends.sqlite import SqliteBackend, SqliteStore
from tunelog.errors import NotFound
from tunelog.model import Batch, JobDetails, Snapshot, SnapshotQuery

JOB = "ft-1"
QUERIES = {
    "full": SnapshotQuery(),
    "rendered": SnapshotQuery(nonfinite="null", keys=("train/*",)),
    "sampled": SnapshotQuery(resolution=250),
    "minmax": SnapshotQuery(resolution=250, sampling="minmax", keys=("train/*",)),
}


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    backend = SqliteBackend(tmp_path / "store.db", clock)
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    yield store
    backend.close()


@pytest.mark.parametrize("name", QUERIES)
def test_wide_rows_are_streamed_in_chunks_of_a_few_megabytes(store: SqliteStore, name: str) -> None:
    for start in range(0, 300, 50):
        store.append(JOB, batch(*map(_wide, range(start, start + 50))))
    sizes = [len(chunk) for chunk in store.read(JOB, QUERIES[name]).chunks]
    assert sum(sizes) > 4_000_000
    assert max(sizes) < 3_000_000
    changes = store.changes(JOB)
    assert changes.more
    assert len(changes.items) < 100


@pytest.mark.parametrize("name", QUERIES)
def test_a_read_is_ended_by_a_delete_and_never_quietly_short(store: SqliteStore, name: str) -> None:
    for start in range(0, 9000, 1000):
        store.append(JOB, batch(*(train(start + i, k1=i) for i in range(1000))))
    reading = store.read(JOB, QUERIES[name])
    store.delete_job(JOB)
    store.create_job(JobDetails(model="m"), "ft-2")  # the writing thread purges when it is idle
    while _left(store):
        pass
    if name == "minmax":  # it has looked at every segment, and remembers them
        assert len(rows(reading)) == reading.returned
        return
    with pytest.raises(NotFound, match="deleted while it was read"):
        rows(reading)


def _wide(step: int) -> Snapshot:
    values: dict[str, int | float] = {
        f"train/k{i}": step * (i + 7) % 101 + 0.123456789 for i in range(3000)
    }
    return Snapshot("train", step, T0 + step * SECOND, values)


def _left(store: SqliteStore) -> int:
    with store._database.read() as connection:
        (count,) = connection.execute("SELECT count(*) FROM garbage").fetchone()
    return int(count)


def test_a_purge_leaves_nothing_of_a_deleted_job(store: SqliteStore) -> None:
    store.append(JOB, batch(*map(train, range(5000))))
    store.delete_job(JOB)
    while _left(store):
        pass
    path = store._database.path
    with sqlite3.connect(path) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in ("project", "api_key", "sqlite_sequence")
        ]
        assert {
            t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables
        } == dict.fromkeys(tables, 0)
    connection.close()


def test_a_process_that_writes_all_the_time_leaves_turns_to_another(
    store: SqliteStore, tmp_path: Path, clock: Clock
) -> None:
    enough = threading.Event()
    stored = [0] * 8

    def write_on(writer: int) -> None:
        while not enough.is_set():
            store.append(JOB, Batch(snapshots=[train(stored[writer])], writer=writer))
            stored[writer] += 1

    other = SqliteBackend(tmp_path / "store.db", clock)
    with ThreadPoolExecutor(len(stored)) as pool, closing(other):
        busy = [pool.submit(write_on, writer) for writer in range(len(stored))]
        meanwhile = []
        for number in range(20):
            before = sum(stored)
            other.create_project(f"project {number}")
            meanwhile.append(sum(stored) - before)
        enough.set()
        for each in busy:
            each.result()
    assert max(meanwhile) < 100 * len(stored)
    assert len(rows(store.read(JOB))) == sum(stored)
