"""Whatever was recorded, and however it is kept, is the same after a move, and goes on alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.store.alike import every_answer
from tests.store.moves import in_parts, project_of
from tests.store.samples import batch, evaluated, train
from tests.store.test_store_model import SMALL, batches, bounds, outcome, small, statuses
from tunelog.backends.memory import MemoryBackend
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Checkpoint, Event, JobChanges, JobDetails
from tunelog.moving import Move
from tunelog.store import Backend

changes = st.one_of(
    st.tuples(st.just("append"), batches),
    st.tuples(st.just("append"), batches),
    st.tuples(st.just("open_attempt"), bounds, st.sampled_from([None, "a", "b"])),
    st.tuples(st.just("update_job"), st.builds(JobChanges, status=statuses)),
    st.tuples(st.just("cancel_job")),
    st.tuples(
        st.just("add_event"),
        st.builds(
            Event,
            type=st.just("note"),
            message=st.sampled_from(["a", "b"]),
            created_at=st.integers(0, 3),
            id=st.sampled_from([None, "e"]),
        ),
    ),
    st.tuples(
        st.just("add_checkpoint"),
        st.builds(Checkpoint, step=st.integers(0, 3), path=st.just("/c"), created_at=small),
    ),
)
histories = st.lists(st.tuples(st.sampled_from(["ft-a", "ft-b"]), changes), max_size=12)


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks so small that a few snapshots fill, split and pack them."""
    with contextlib.ExitStack() as stack:
        for module, name, size in SMALL:
            stack.enter_context(patch.object(module, name, size))
        yield


def pack(sqlite: SqliteBackend) -> None:
    """Have all packed that may be."""
    while sqlite._database.write(sqlite._writing.packer.step):
        pass


def test_packed_snapshots_are_given_in_order_of_arrival_in_parts_of_any_size(
    tmp_path: Path,
) -> None:
    """Each batch has a snapshot of every stretch of time, so that all segments overlap."""
    sqlite = SqliteBackend(tmp_path / "store.db")
    with small_blocks(), contextlib.closing(sqlite):
        store = sqlite.store(sqlite.create_project("default"))
        store.create_job(JobDetails(model="m"), "ft-a")
        for number in range(12):
            rows = [train(10 * stretch + number, at=100 * stretch + number) for stretch in range(6)]
            store.append("ft-a", batch(*rows, evaluated(number)))
        pack(sqlite)
        expected = [step for n in range(12) for step in (*range(n, n + 60, 10), n)]
        for limit in range(1, 30):
            parts = in_parts(store, "ft-a", limit)
            assert [kept.global_step for part in parts for kept in part] == expected


@given(before=histories, between=histories, after=histories)
@settings(max_examples=40, deadline=None)
def test_any_history_is_the_same_after_two_moves_and_goes_on_alike(
    before: Any, between: Any, after: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    now = [1_000_000]

    def clock() -> int:
        return now[0]

    def do(history: Any, *backends: Backend) -> None:
        for job, (name, *arguments) in history:
            now[0] += 1_000
            stores = [backend.store(project_of(backend)) for backend in backends]
            found = [outcome(getattr(store, name), job, *arguments) for store in stores]
            assert all(each == found[0] for each in found)

    with small_blocks():
        memory, again = MemoryBackend(clock), MemoryBackend(clock)
        sqlite = SqliteBackend(tmp_path_factory.mktemp("moved") / "store.db", clock)
        store = memory.store(memory.create_project("default"))
        for job in ("ft-a", "ft-b"):
            store.create_job(JobDetails(model="m"), job)
        do(before, memory)
        Move(memory, sqlite).run_pass()
        do(between, memory)
        Move(memory, sqlite).run_pass()
        assert every_answer(sqlite) == every_answer(memory)
        pack(sqlite)
        Move(sqlite, again).run_pass()
        do(after, memory, sqlite, again)
        expected = every_answer(memory)
        assert every_answer(sqlite) == expected
        assert every_answer(again) == expected
        sqlite.close()
