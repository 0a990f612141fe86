"""Segments: what is packed is what was stored, whenever the process dies and whatever is late."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from zstandard import ZstdCompressionParameters

from tests.store.samples import SECOND, T0, batch, evaluated, rows, train
from tunelog import downsample
from tunelog.backends.memory import MemoryBackend
from tunelog.backends.sqlite import SqliteBackend, SqliteStore, blocks, frames, packing, segments
from tunelog.backends.sqlite.frames import Row
from tunelog.model import ALL, JobDetails, Kind, Snapshot, SnapshotQuery
from tunelog.wire.snapshots import decode_values, encode_snapshots
from tunelog.wire.summaries import Summarizer

JOB = "ft-1"
QUICK = ZstdCompressionParameters.from_level(3)
EXACT = SnapshotQuery(nonfinite="string", attempt="all")


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    """Sizes so small that a few snapshots fill blocks, frames and segments."""
    with (
        patch.multiple(blocks, FULL=3, SPLIT=6),
        patch.multiple(packing, AT_ONCE=8),
        patch.multiple(segments, ROWS=12),
        patch.multiple(frames, FRAME_ROWS=4),
    ):
        yield


# ---------------------------------------------------------------- frames

values = st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1))


@st.composite
def stored_rows(draw: st.DrawFn) -> list[Row]:
    """Rows in order, of several writers, kinds and key sets."""
    found = []
    for arrival in range(draw(st.integers(1, 20))):
        kind: Kind = draw(st.sampled_from(("train", "train", "eval")))
        names = sorted(draw(st.sets(st.sampled_from("abc"))))  # one order for each shape
        logged = {f"{kind}/{name}": draw(values) for name in names}
        step = draw(st.integers(0, 9))
        snapshot = Snapshot(kind, step, draw(st.integers(0, 5)), logged)
        ((line, exact),) = encode_snapshots([snapshot])
        place = snapshot.logged_at, draw(st.integers(1, 3)), draw(st.integers(0, 2)), arrival
        shape = 1 + sum(2 ** "abc".index(name) for name in names) + 8 * (kind == "eval")
        row = Row(*place, int(kind == "eval"), step, shape, draw(st.integers(0, 99)), exact, line)
        found.append(row)
    return sorted(found)


def packed(held: Sequence[Row]) -> tuple[frames.Parts, segments.Segment]:
    parts = frames.pack(held, [decode_values(row.line, row.exact) for row in held], QUICK)
    return parts, segments.Segment(1, (frames.encode_frames(parts.frames), *parts[1::3]))


@given(stored_rows())
def test_what_is_packed_is_what_was_there(held: list[Row]) -> None:
    _, segment = packed(held)
    assert segment.every_row() == held
    assert segment.train_begins[-1] == sum(row.train for row in held)
    for number in range(len(segment.frames)):
        for i, row in enumerate(segment.rows(number)):
            assert segment.columns[number].place(i, row.line) == row.place


@given(stored_rows())
def test_the_bounds_of_a_frame_are_those_of_its_rows(held: list[Row]) -> None:
    _, segment = packed(held)
    for number, frame in enumerate(segment.frames):
        inside = segment.rows(number)
        for name in ("logged_at_from", "step_min", "attempt_min", "arrival_min"):
            assert getattr(frame, name) == min(getattr(row, name) for row in inside)
        for name in ("logged_at_max", "step_max", "attempt_max", "arrival_max"):
            assert getattr(frame, name) == max(getattr(row, name) for row in inside)
        assert (frame.train, frame.eval) == (
            sum(row.train for row in inside),
            sum(row.eval for row in inside),
        )
        assert frame.exacts == sum(row.exact is not None for row in inside)
        assert frame.bytes == sum(len(row.line) for row in inside)
        assert {s: c for s, c in frame.shapes.items() if c != (0, 0)} == {
            shape: (
                sum(row.train for row in inside if row.shape == shape),
                sum(row.eval for row in inside if row.shape == shape),
            )
            for shape in {row.shape for row in inside}
        }


@given(stored_rows())
def test_the_summary_of_a_segment_is_that_of_its_rows(held: list[Row]) -> None:
    parts, _ = packed(held)
    names = [f"{kind}/{name}" for kind in ("train", "eval") for name in "abc"]
    one, other = Summarizer(ALL, names), Summarizer(ALL, names)
    one.add(
        ("eval" if r.is_eval else "train", r.global_step, decode_values(r.line, r.exact))
        for r in held
    )
    counts = sum(row.train for row in held), sum(row.eval for row in held)
    other.add_stretch(*counts, frames.decode_summary(parts.summary))
    assert repr(one.summary()) == repr(other.summary())


@given(stored_rows(), st.integers(4, 30), st.integers(1, 4))
def test_minmax_by_the_extremes_of_frames_keeps_the_same_snapshots(
    held: list[Row], resolution: int, at_once: int
) -> None:
    parts, segment = packed(held)
    extremes = frames.decode_extremes(parts.extremes)
    keys = ["train/a", "train/b"]
    trained = [decode_values(row.line, row.exact) for row in held if row.train]
    chosen = downsample.MinMax(keys, len(trained), resolution)
    begins, number = segment.train_begins, 0
    while chosen.looks and number < len(segment.frames):
        some = range(number, min(number + at_once, len(segment.frames)))
        train = begins[some.stop] - begins[some.start]
        if train <= chosen.room:
            found = {
                key: extremes[key].over(some, begins) for key in chosen.watched if key in extremes
            }
            chosen.add_stretch(train, found)
            number = some.stop
        else:
            values = [decode_values(r.line, r.exact) for r in segment.rows(number) if r.train]
            chosen.add_rows([tuple(map(row.get, chosen.watched)) for row in values])
            number += 1
    assert list(chosen.ordinals()) == list(
        downsample.minmax(trained, keys, len(trained), resolution)
    )


# ---------------------------------------------------------------- in a store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    backend = SqliteBackend(tmp_path / "store.db")
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    yield store
    backend.close()


def at_rest(store: SqliteStore) -> list[blocks.Block]:
    """The job's blocks when there is nothing left to pack."""
    while store._database.write(store._writing.packer.step):
        pass
    with store._database.read() as connection:
        return blocks.between(connection, 1, 0, 2**63 - 1)


def levels(store: SqliteStore) -> list[int]:
    return [block.level for block in at_rest(store)]


def test_a_large_batch_is_packed_as_it_comes_and_neighbours_well_when_there_are_enough(
    store: SqliteStore,
) -> None:
    for first in (0, 8, 16, 24):
        store.append(JOB, batch(*map(train, range(first, first + 8))))
    assert levels(store) == [2, 2, 2, 1]  # 8 each, and two are more than 12
    assert [row["train/global_step"] for row in rows(store.read(JOB))] == list(range(32))


def test_single_snapshots_are_packed_when_they_have_come_to_rest(store: SqliteStore) -> None:
    for step in range(20):
        store.append(JOB, batch(train(step)))
    found = at_rest(store)
    assert [block.size for block in found] == [12, 3, 3, 2]
    assert [block.level for block in found] == [2, 1, 0, 0]


def test_a_late_snapshot_has_its_block_unpacked_until_it_rests_again(store: SqliteStore) -> None:
    for first in (0, 8, 16):
        store.append(JOB, batch(*map(train, range(first, first + 8))))
    assert levels(store) == [2, 2, 1]
    store.append(JOB, batch(train(99, at=T0 + 3 * SECOND + 1), evaluated(3)))
    assert min(levels(store)) == 0
    assert store.read(JOB).matched == 26
    order = [0, 1, 2, 3, 3, 99, *range(4, 24)]
    assert sorted(row["train/global_step"] for row in rows(store.read(JOB))) == sorted(order)
    store.append(JOB, batch(*map(train, range(24, 34))))
    assert 0 not in levels(store)
    order += range(24, 34)
    assert sorted(row["train/global_step"] for row in rows(store.read(JOB))) == sorted(order)


def test_snapshots_of_one_moment_are_never_cut_apart(store: SqliteStore) -> None:
    same = [train(step, at=T0) for step in range(30)]
    store.append(JOB, batch(*same))
    (block,) = at_rest(store)
    assert (block.size, block.level) == (30, 1)
    store.append(JOB, batch(train(30, at=T0), train(31, at=T0 + 1)))
    assert [row["train/global_step"] for row in rows(store.read(JOB))] == list(range(32))


def test_each_metric_is_sampled_as_from_rows_whatever_lies_between(store: SqliteStore) -> None:
    """Packed frames of which eval snapshots, other metrics or a filter take a part."""
    plain = MemoryBackend()
    model = plain.store(plain.create_project("default"))
    model.create_job(JobDetails(model="m"), JOB)
    for first in range(0, 120, 8):
        logged = [_of_two_metrics(step) for step in range(first, first + 8)]
        logged += [evaluated(step) for step in range(first, first + 8) if step % 5 == 2]
        for each in (store, model):
            each.append(JOB, batch(*sorted(logged, key=lambda one: one.logged_at)))
    at_rest(store)
    for low, high in ((None, None), (11, 101)):
        for keys in (("train/a",), ("train/b",), ("train/a", "eval/loss"), ()):
            for sampling in ("minmax", "uniform"):
                for resolution in (9, 10, 30, 9):  # the last is from what is remembered
                    query = SnapshotQuery(
                        global_step_from=low,
                        global_step_to=high,
                        keys=keys,
                        resolution=resolution,
                        sampling=sampling,
                    )
                    assert rows(store.read(JOB, query)) == rows(model.read(JOB, query)), query


def _of_two_metrics(step: int) -> Snapshot:
    noise = step * 7919 % 101 / 8
    a = math.nan if step % 17 == 4 else noise
    return train(step, a=a, b=-noise) if step % 3 else train(step, a=a)


def test_what_was_removed_is_given_back_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with patch.multiple(blocks, FULL=1024, SPLIT=4096), patch.multiple(segments, ROWS=4096):
        backend = SqliteBackend(path)
        store = backend.store(backend.create_project("default"))
        store.create_job(JobDetails(model="m"), JOB)
        for first in range(0, 12_000, 400):
            with patch.multiple(packing, AT_ONCE=1000):
                store.append(JOB, batch(*(train(first + i, k=i) for i in range(400))))
        at_rest(store)
        backend.close()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
    assert (free, pages > 10) == (0, True)


# ---------------------------------------------------------------- when the process dies


def history() -> list[Any]:
    """Batches that are packed at once, as they rest, together, and unpacked by late ones."""
    late = train(50, at=T0 + 2 * SECOND + 5, loss=float("nan"))
    return [
        batch(*map(train, range(8)), evaluated(3), first_seq=0),
        *(batch(train(step), first_seq=step + 1) for step in range(8, 16)),
        batch(late, evaluated(5), writer=1, first_seq=0),
        batch(*map(train, range(16, 26)), first_seq=17),
    ]


def record(path: Path, kill_at: int, told: Callable[[int], object]) -> int:
    """Store the history in a process of its own that is killed at its n-th statement.

    `told` is called with how many batches were acknowledged; answers how many statements there were
    if it was not killed.
    """
    backend = SqliteBackend(path)
    seen = 0

    def count(statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), JOB)
    backend._database._connection.set_trace_callback(count)
    for number, each in enumerate(history(), 1):
        store.append(JOB, each)
        told(number)
        while backend._database.write(backend._writing.packer.step):
            pass
    return seen


def in_a_process_of_its_own(path: Path, kill_at: int) -> tuple[int, int | None]:
    """How many batches were acknowledged, and how many statements there were if it lived on."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            seen = record(path, kill_at, lambda number: os.write(theirs, b"."))
            os.write(theirs, b"%d" % seen)
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    acknowledged = said.count(b".")
    if os.WIFSIGNALED(status):
        return acknowledged, None
    return acknowledged, int(said[acknowledged:])


@pytest.mark.slow
def test_a_kill_at_any_statement_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    _, statements = in_a_process_of_its_own(tmp_path / "whole.db", 0)
    assert statements is not None
    assert statements > 200
    for kill_at in range(1, statements):
        path = tmp_path / f"{kill_at}.db"
        acknowledged, lived = in_a_process_of_its_own(path, kill_at)
        assert lived is None or lived < kill_at  # what is done when idle is not always the same
        backend = SqliteBackend(path)
        store = backend.store(backend.create_project("default"))
        found = [(r["timestamp"], r["train/global_step"]) for r in rows(store.read(JOB, EXACT))]
        sent = [
            sorted((s.logged_at, s.global_step) for each in history()[:n] for s in each.snapshots)
            for n in (acknowledged, acknowledged + 1)
        ]
        assert sorted(found) in sent
        for each in history():  # sent again, as a sender does, it is all there once
            store.append(JOB, each)
        every = sorted((s.logged_at, s.global_step) for e in history() for s in e.snapshots)
        again = [(r["timestamp"], r["train/global_step"]) for r in rows(store.read(JOB, EXACT))]
        assert sorted(again) == every
        backend.close()
        path.unlink()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_a_reader_that_began_before_sees_what_was_there_while_blocks_are_packed_and_unpacked(
    tmp_path_factory: pytest.TempPathFactory, late: list[int]
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.db"
    with contextlib.closing(SqliteBackend(path)) as backend:
        store = backend.store(backend.create_project("default"))
        store.create_job(JobDetails(model="m"), JOB)
        for first in range(0, 40, 5):
            store.append(JOB, batch(*map(train, range(first, first + 5))))
        queries = (ALL, SnapshotQuery(resolution=7), SnapshotQuery(global_step_from=3))
        readings = [store.read(JOB, query) for query in queries]
        expected = [rows(store.read(JOB, query)) for query in queries]
        began = [iter(reading.chunks) for reading in readings]
        first_chunks = [next(chunks) for chunks in began]
        for number, step in enumerate(late):
            store.append(JOB, batch(train(100 + number, at=T0 + step * SECOND + 1 + number)))
            at_rest(store)
        for chunk, chunks, then in zip(first_chunks, began, expected, strict=True):
            found = [row for part in (chunk, *chunks) for row in json.loads(b"[" + part + b"]")]
            assert found == then
