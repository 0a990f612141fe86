"""The counts of SQLite's blocks, on which every sampled read relies, against the rows."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.store.samples import SECOND, T0, batch, rows, train
from tunelog.backends.sqlite import SqliteBackend, blocks
from tunelog.model import Batch, JobDetails, Snapshot, SnapshotQuery
from tunelog.store import Store

JOB = "ft-1"

COUNTED = "max(logged_at), sum(1 - is_eval), sum(is_eval), min(global_step), max(global_step)"
BLOCKS = "SELECT logged_at_from, logged_at_max, train, eval, step_min, step_max FROM block"


def stored(path: Path, batches: list[Batch]) -> None:
    backend = SqliteBackend(path)
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    for each in batches:
        store.append(JOB, each)
    backend.close()


@st.composite
def crowded(draw: st.DrawFn) -> Batch:
    """Rows of a few moments, many of them the same, as several writers' are."""
    times = draw(st.lists(st.integers(0, 12), min_size=1, max_size=25))
    kinds = draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    return batch(
        *(
            Snapshot("eval", at, at, {"eval/a": 1.0}) if kind else Snapshot("train", at, at, {})
            for at, kind in zip(times, kinds, strict=True)
        )
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(crowded(), min_size=1, max_size=5))
def test_every_block_counts_the_rows_from_its_time_to_the_next_blocks(batches: list[Batch]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.multiple(blocks, FULL=3, SPLIT=6),
    ):
        path = Path(folder) / "store.db"
        stored(path, batches)
        connection = sqlite3.connect(path)
        found = connection.execute(f"{BLOCKS} ORDER BY logged_at_from").fetchall()
        ends = [block[0] for block in found[1:]] + [2**63 - 1]
        for block, end in zip(found, ends, strict=True):
            counted = connection.execute(
                f"SELECT {COUNTED} FROM snapshot WHERE logged_at >= ? AND logged_at < ?",
                (block[0], end),
            ).fetchone()
            assert block[1:] == counted
        (total,) = connection.execute("SELECT count(*) FROM snapshot").fetchone()
        assert sum(block[2] + block[3] for block in found) == total
        connection.close()


def test_five_ranks_that_send_their_whole_history_one_after_the_other(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "store.db")
    store: Store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    for rank, count in enumerate((1000, 1000, 1000, 1000, 1100)):
        times = (T0 + i * SECOND + (rank or 500) for i in range(count))
        history = (train(i, at=at) for i, at in enumerate(times))
        store.append(JOB, batch(*history, writer=rank, first_seq=0))
    reading = store.read(JOB)
    assert reading.matched == 5100
    assert len(rows(reading)) == 5100
    assert len(rows(store.read(JOB, SnapshotQuery(resolution=2000)))) == 2000
    backend.close()
