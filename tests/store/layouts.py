"""Stores of every layout that was ever released, as SQL, and the history that each of them holds.

When a migration `0002_….sql` is added, `layouts/0002.sql` is made from a store of that layout:

    .venv/bin/python -m tests.store.layouts > tests/store/layouts/0002.sql

The older ones stay as they are: they are what users have on their disks.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.store.samples import T0, batch, evaluated, rows, train
from tunelog.backends.secrets import hash_secret
from tunelog.backends.sqlite import SqliteBackend, packing
from tunelog.model import Checkpoint, Event, JobChanges, JobDetails, SnapshotQuery

FOLDER = Path(__file__).with_name("layouts")
SECRET = "tl-of-a-store-that-is-only-tested"
TOKEN = "tls-of-a-store-that-is-only-tested"


def opened(path: Path) -> SqliteBackend:
    """A store on a clock that stands still."""
    return SqliteBackend(path, lambda: T0)


def fill(path: Path) -> None:
    """Make a store with something of everything in it."""
    backend = opened(path)
    project = backend.create_project("default")
    backend.create_key(project, ["read", "admin"])
    store = backend.store(project)
    details = JobDetails(model="m", name="n", tags=("a", "b"), hyperparameters={"lr": 0.5})
    store.create_job(details, "ft-run")
    store.append("ft-run", batch(*map(train, range(1, 9)), evaluated(4), first_seq=0))
    store.append("ft-run", batch(train(9, loss=float("nan"), big=2**60, lr=1e-5), first_seq=9))
    store.open_attempt("ft-run", 7)
    store.append("ft-run", batch(train(7, at=T0 + 2**40), train(8, at=T0 + 2**41), writer=1))
    store.add_event("ft-run", Event(type="warning", message="hot", created_at=T0, id="e"))
    store.add_checkpoint("ft-run", Checkpoint(step=8, path="/c", created_at=T0, id="c"))
    store.update_job("ft-run", JobChanges(status="completed", details={"epochs_completed": 1}))
    store.create_job(JobDetails(model="m"), "ft-waiting")
    store.create_job(JobDetails(model="m"), "ft-gone")
    store.append("ft-gone", batch(train(1)))
    store.delete_job("ft-gone")
    key = backend.keys()[0]
    store.create_share(["ft-run"], 100 * 366 * 86_400, name="for good", key_id=key.id)
    backend.signing_key()
    backend.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE api_key SET hash = ?", (hash_secret(SECRET),))
        connection.execute("UPDATE share SET hash = ?", (hash_secret(TOKEN),))
        connection.commit()


def answers(path: Path) -> dict[str, Any]:
    """What a filled store answers, to everything that can be asked of it."""
    backend = opened(path)
    try:
        principal = backend.authenticate(SECRET)
        store = backend.store(principal.project)
        queries = {
            "effective": SnapshotQuery(),
            "exact": SnapshotQuery(nonfinite="string", attempt="all"),
            "sampled": SnapshotQuery(resolution=3),
            "loss": SnapshotQuery(keys=("*/loss",), logged_at_from=T0 + 3),
        }
        return {
            "scopes": principal.key.scopes,
            "projects": [project.name for project in backend.projects()],
            "jobs": store.jobs(),
            "attempts": store.attempts("ft-run"),
            "events": store.events("ft-run"),
            "checkpoints": store.checkpoints("ft-run"),
            "columns": store.columns("ft-run"),
            "summary": store.summarize("ft-run"),
            "changes": store.changes("ft-run"),
            **{name: rows(store.read("ft-run", query)) for name, query in queries.items()},
        }
    finally:
        backend.close()


def restored(layout: Path, path: Path) -> None:
    """Make a store of a layout."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(layout.read_text())


def dump(path: Path) -> str:
    """A store as SQL."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        lines = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("page_size", "application_id", "user_version", "journal_mode")
        ]
        return "\n".join([*lines, *connection.iterdump(), ""])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "store.db"
        with patch.object(packing, "AT_ONCE", 4):  # so that there are segments
            fill(made)
        sys.stdout.write(dump(made))
