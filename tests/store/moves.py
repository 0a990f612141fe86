"""What tests of moving share: a job to move, and moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.store.conftest import Clock
from tests.store.samples import batch, evaluated, train
from tunelog.access import Project
from tunelog.model import Checkpoint, Event, JobChanges, JobDetails, Receipt
from tunelog.moving import Move
from tunelog.portable import KeptSnapshot
from tunelog.store import Backend, MovableStore


def recorded(backend: Backend, job_id: str = "ft-a") -> MovableStore:
    """The store of a project with a job that has something of everything."""
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m", name="first", tags=("a", "b")), job_id)
    store.append(job_id, batch(train(1), train(2, loss=math.nan), evaluated(2), first_seq=5))
    store.append(job_id, batch(train(4), train(3)))
    store.append(job_id, batch(train(3, at=1, acc=-0.0, loss=2**60), writer=1, first_seq=0))
    store.add_event(job_id, Event(type="note", message="late", created_at=9, id="e-1"))
    store.add_event(job_id, Event(type="note", message="early", created_at=3))
    store.add_checkpoint(job_id, Checkpoint(step=2, path="/c/2", created_at=7, id="c-1"))
    store.open_attempt(job_id, 3, "again")
    store.append(job_id, batch(train(3, at=4, loss=-math.inf), evaluated(3), first_seq=0))
    store.open_attempt(job_id)
    store.update_job(job_id, JobChanges(status="completed", details={"n_epochs": 3}))
    return store


def moved(source: Backend, target: Backend) -> Move:
    """A move that is complete."""
    move = Move(source, target)
    while not move.caught_up:
        move.run_pass()
    return move


def in_parts(store: MovableStore, job_id: str, limit: int) -> list[Sequence[KeptSnapshot]]:
    """A job's snapshots as they are given a part at a time."""
    after, parts = 0, []
    while part := store.stored(job_id, after, limit=limit):
        parts.append(part)
        after = part[-1].arrival
    return parts


def project_of(backend: Backend) -> Project:
    """The only one."""
    (project,) = backend.projects()
    return project


def go_on(clock: Clock, *stores: MovableStore) -> None:
    """Each is told the same of a job that was `recorded`: some again, some for the first time."""
    for store in stores:
        clock.now = 2 * 10**18
        sent_again = store.append("ft-a", batch(train(9), train(9), attempt=1, first_seq=7))
        assert sent_again == Receipt(1, 1, "completed")
        assert store.append("ft-a", batch(train(5), train(6), attempt=1)).stored == 2
        assert store.open_attempt("ft-a", 7, "again").attempt == 2
        assert store.open_attempt("ft-a", 2).attempt == 4
        store.add_event("ft-a", Event(type="note", message="other", created_at=1, id="e-1"))
