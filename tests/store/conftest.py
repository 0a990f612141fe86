"""`store`: every backend in turn, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunelog.backends.memory import MemoryBackend
from tunelog.backends.remote import RemoteStore
from tunelog.backends.sqlite import SqliteBackend
from tunelog.server import create_app
from tunelog.store import Backend, Store


class Clock:
    """Tells the time it was told; a microsecond later at each look."""

    def __init__(self) -> None:
        self.now = 1_779_196_193_000_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Backend]:
    made: Backend
    if request.param == "memory":
        made = MemoryBackend(clock)
    else:
        made = SqliteBackend(tmp_path / "store.db", clock)
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A project's store; the remote one speaks HTTP to a service over SQLite."""
    made: Backend
    if request.param == "memory":
        made = MemoryBackend(clock)
    else:
        made = SqliteBackend(tmp_path / "store.db", clock)
    project = made.create_project("default")
    if request.param == "remote":
        _, secret = made.create_key(project, ["admin"])
        app = create_app(made, clock=clock, log=lambda fields: None)
        with TestClient(app, base_url="http://service") as client:
            yield RemoteStore("http://service", secret, client=client)
    else:
        yield made.store(project)
    made.close()
