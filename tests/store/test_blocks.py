"""The counts of SQLite's blocks, on which every sampled read relies, against the rows."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.store.samples import SECOND, T0, batch, rows, train
from tunelog.backends.sqlite import SqliteBackend, blocks, frames, packing, segments
from tunelog.backends.sqlite.frames import Row
from tunelog.model import Batch, JobDetails, Snapshot, SnapshotQuery
from tunelog.store import Store

JOB = "ft-1"


def block_of(rows: list[Row]) -> tuple[object, ...]:
    """What the block of these rows, none of them late, is to say of them."""
    evals = sum(row.is_eval for row in rows)
    steps, arrivals = [row.global_step for row in rows], [row.arrival for row in rows]
    attempts = [row.attempt for row in rows]
    return (
        rows[-1].logged_at,
        len(rows) - evals,
        evals,
        *(bound(each) for each in (steps, attempts, arrivals) for bound in (min, max)),
        sum(len(row.line) for row in rows),
    )


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
        patch.multiple(packing, AT_ONCE=6),
        patch.multiple(segments, ROWS=9),
        patch.multiple(frames, FRAME_ROWS=2),
    ):
        path = Path(folder) / "store.db"
        stored(path, batches)
        connection = sqlite3.connect(path)
        found = blocks.between(connection, 1, 0, 2**63 - 1)
        ends = [block.logged_at_from for block in found[1:]] + [2**63 - 1]
        total = 0
        for block, end in zip(found, ends, strict=True):
            held = segments.rows_of(connection, 1, block)
            assert block.logged_at_from <= held[0].logged_at
            assert held[-1].logged_at < end
            assert held == sorted(held)
            assert block[1:11] == block_of(held)
            total += len(held)
        assert total == sum(len(batch.snapshots) for batch in batches)
        packed = sorted(block.segment for block in found if block.segment is not None)
        assert packed == [n for (n,) in connection.execute("SELECT id FROM segment ORDER BY id")]
        evals = "SELECT count(*) FROM snapshot WHERE is_eval"
        (kept,) = connection.execute(evals).fetchone()
        assert kept == sum(block.eval for block in found)
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
