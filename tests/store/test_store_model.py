"""Whatever is done to a store, it answers as the plain memory store does."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.store.samples import rows
from tunelog.backends.memory import MemoryBackend
from tunelog.backends.sqlite import SqliteBackend, blocks, frames, packing, segments
from tunelog.errors import TunelogError
from tunelog.model import (
    Batch,
    JobChanges,
    JobDetails,
    JobQuery,
    Kind,
    Snapshot,
    SnapshotQuery,
    Status,
)
from tunelog.store import Store

JOBS = ("ft-a", "ft-b")
SMALL = (
    (blocks, "FULL", 3),
    (blocks, "SPLIT", 6),
    (packing, "AT_ONCE", 4),
    (segments, "ROWS", 9),
    (frames, "FRAME_ROWS", 2),
)
small = st.integers(0, 30)
values = st.one_of(st.floats(), st.integers(-5, 5), st.sampled_from([2**60, -(2**53) - 1]))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    kinds: tuple[Kind, ...] = ("train", "train", "eval")
    kind = draw(st.sampled_from(kinds))
    names = draw(st.lists(st.sampled_from(["loss", "lr", "acc"]), unique=True, max_size=3))
    found = {f"{kind}/{name}": draw(values) for name in names}
    moment = draw(st.integers(0, 2) | small)  # often the same one
    return Snapshot(kind, draw(small), moment * 1000, found)


batches = st.builds(
    Batch,
    snapshots=st.lists(snapshots(), max_size=12),
    attempt=st.sampled_from([None, None, 1, 2, 3]),
    writer=st.integers(0, 1),
    first_seq=st.one_of(st.none(), small),
)
bounds = st.one_of(st.none(), small)
queries = st.builds(
    SnapshotQuery,
    global_step_from=bounds,
    global_step_to=bounds,
    logged_at_from=st.one_of(st.none(), st.integers(-1, 31_000)),
    logged_at_to=st.one_of(st.none(), st.integers(-1, 31_000)),
    resolution=st.one_of(st.none(), st.integers(-1, 40)),
    sampling=st.sampled_from(["uniform", "minmax"]),
    attempt=st.sampled_from([None, None, "all", 1, 2]),
    keys=st.sampled_from([(), (), ("train/loss",), ("*/acc", "train/lr"), ("timestamp",), ("x",)]),
    after=st.one_of(st.none(), st.integers(0, 60).map(str)),
    nonfinite=st.sampled_from(["omit", "null", "string"]),
)
statuses: st.SearchStrategy[Status] = st.sampled_from(
    ["running", "completed", "error", "queued", "cancelled"]
)

listings = st.builds(
    JobQuery,
    name=st.sampled_from([None, None, "again"]),
    search=st.sampled_from([None, None, "FT-A", "n", "again", "x"]),
    statuses=st.frozensets(statuses, max_size=2),
    offset=st.integers(0, 2),
    limit=st.sampled_from([None, 1, 2]),
)


def outcome(call: Any, *arguments: Any) -> Any:
    """What a call answers, or the error it raises."""
    try:
        return call(*arguments)
    except TunelogError as error:
        return type(error), error.message


class StoresAgree(RuleBasedStateMachine):
    """Does the same to SQLite and to memory, and compares what each answers."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ticks = itertools.count(1_000)
        now = [0]

        def clock() -> int:
            return now[0]

        self.now = now
        self.backends = (
            MemoryBackend(clock),
            SqliteBackend(Path(self.folder.name) / "store.db", clock),
        )
        self.stores: list[Store] = []
        for backend in self.backends:
            store = backend.store(backend.create_project("default"))
            for job in JOBS:
                store.create_job(JobDetails(model="m"), job)
            self.stores.append(store)

    def both(self, name: str, *arguments: Any) -> None:
        self.now[0] = next(self.ticks)
        expected, found = (outcome(getattr(store, name), *arguments) for store in self.stores)
        assert found == expected

    @rule(job=st.sampled_from(JOBS), batch=batches)
    def append(self, job: str, batch: Batch) -> None:
        self.both("append", job, batch)

    @rule(job=st.sampled_from(JOBS), step=bounds, name=st.sampled_from([None, "a", "b"]))
    def open_attempt(self, job: str, step: int | None, name: str | None) -> None:
        self.both("open_attempt", job, step, name)

    @rule(job=st.sampled_from(JOBS), status=statuses)
    def update(self, job: str, status: Status) -> None:
        self.both("update_job", job, JobChanges(status=status, seconds_remaining=5))

    @rule(job=st.sampled_from(JOBS))
    def cancel(self, job: str) -> None:
        self.both("cancel_job", job)

    @rule(job=st.sampled_from(JOBS))
    def delete_and_create_again(self, job: str) -> None:
        self.both("delete_job", job)
        self.both("job", job)
        self.both("create_job", JobDetails(model="n", name="again"), job)

    @rule(job=st.sampled_from(JOBS), query=queries)
    def read(self, job: str, query: SnapshotQuery) -> None:
        memory, sqlite = (store.read(job, query) for store in self.stores)
        assert (sqlite.matched, sqlite.returned, sqlite.cursor) == (
            memory.matched,
            memory.returned,
            memory.cursor,
        )
        assert repr(rows(sqlite)) == repr(rows(memory))

    @rule(job=st.sampled_from(JOBS), query=queries)
    def summarize(self, job: str, query: SnapshotQuery) -> None:
        self.both("summarize", job, query)
        self.both("columns", job, query)

    @rule(job=st.sampled_from(JOBS), query=queries)
    def follow(self, job: str, query: SnapshotQuery) -> None:
        self.both("changes", job, query)

    @rule()
    def look_at_the_catalog(self) -> None:
        self.both("jobs")
        for job in JOBS:
            self.both("job", job)
            self.both("attempts", job)
            self.both("events", job)

    @rule(query=listings)
    def list_jobs(self, query: JobQuery) -> None:
        self.both("find_jobs", query)

    @rule(age=st.integers(0, 5))
    def fall_silent(self, age: int) -> None:
        memory, sqlite = (b.end_silent_jobs(self.now[0] - age) for b in self.backends)
        assert sorted(sqlite) == sorted(memory)

    def teardown(self) -> None:
        if hasattr(self, "backends"):
            for backend in self.backends:
                backend.close()
            self.folder.cleanup()


class StoresAgreeOnSmallBlocks(StoresAgree):
    """The same, with blocks so small that a few snapshots fill, split and pack them."""

    @initialize()
    def open(self) -> None:
        self.small = contextlib.ExitStack()
        for module, name, size in SMALL:
            self.small.enter_context(patch.object(module, name, size))
        super().open()

    @rule()
    def come_to_rest(self) -> None:
        sqlite = self.backends[1]
        assert isinstance(sqlite, SqliteBackend)
        while sqlite._database.write(sqlite._writing.packer.step):
            pass

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "small"):
            self.small.close()


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestStoresAgreeOnSmallBlocks = StoresAgreeOnSmallBlocks.TestCase
TestStoresAgreeOnSmallBlocks.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
