"""Trainings to send, stores that fail, and what has arrived in a store."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import tunelog
from tunelog.backends.memory import MemoryBackend, MemoryStore
from tunelog.errors import TunelogError
from tunelog.model import SnapshotQuery
from tunelog.recorder.state import claim
from tunelog.sender import Drain
from tunelog.store import Store


def new_store() -> MemoryStore:
    backend = MemoryBackend()
    return backend.store(backend.create_project("default"))


class Troubled:
    """A store whose calls may fail, as a service's do: before they have an effect, or after."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.calls: list[str] = []
        self.before: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None
        self.after: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any) -> Any:
            self.calls.append(name)
            self.before(name, args)
            answer = method(*args)
            self.after(name, args)
            return answer

        return call

    @property
    def as_store(self) -> Store:
        return cast(Store, self)


def begin(spool: Path, **settings: Any) -> tunelog.Recorder:
    return tunelog.init("Qwen/Qwen3-0.6B", spool=spool, offline=True, **settings)


def record(
    spool: Path, steps: range = range(5), status: Any = "completed", **settings: Any
) -> tunelog.Recorder:
    """A whole training."""
    job = begin(spool, **settings)
    for step in steps:
        job.log({"loss": 1 / (step + 1), "odd": math.nan}, step)
    job.event("half way", step=3)
    job.checkpoint("out/checkpoint-4", step=4)
    job.update(epochs_completed=1)
    job.log({"loss": 0.5}, 4, prefix="eval")
    job.finish(status)
    return job


@contextmanager
def draining(path: Path, store: Store, clock: Callable[[], int] = time.time_ns) -> Iterator[Drain]:
    state = claim(str(path))
    assert state is not None
    with closing(state), closing(Drain(str(path), store, state, clock)) as sending:
        yield sending


def drain(path: Path, store: Store) -> Drain:
    """A drain that has sent everything; a spool that is complete is removed."""
    with draining(path, store) as sending:
        while sending.send():
            pass
        if sending.finished:
            sending.end()
        return sending


def rows(store: MemoryStore, job_id: str, query: SnapshotQuery | None = None) -> list[Any]:
    query = query or SnapshotQuery(nonfinite="string")
    chunks = store.read(job_id, query).chunks
    return [json.loads(line) for chunk in chunks for line in chunk.split(b",\n")]


def everything(store: MemoryStore, job_id: str) -> Any:
    """All that a job has, except for when it came."""
    job = store.job(job_id)
    events = [(e.id, e.type, e.message, e.step) for e in store.events(job_id) if e.id]
    checkpoints = [(c.id, c.step, c.path) for c in store.checkpoints(job_id)]
    attempts = [(a.attempt, a.first_step) for a in store.attempts(job_id)]
    return job.status, job.details, rows(store, job_id), sorted(events), checkpoints, attempts


def warnings(store: MemoryStore, job_id: str) -> list[str]:
    return [event.message for event in store.events(job_id) if event.type == "warning"]


def always(error: TunelogError) -> Callable[[str, Any], None]:
    def fail(name: str, args: Any) -> None:
        raise error

    return fail
