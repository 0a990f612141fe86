"""`store`: every backend in turn, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


KINDS = ("memory", "sqlite")


def opened(kind: str, folder: Path, clock: Callable[[], int]) -> Backend:
    """A new backend of a kind; what it keeps is in the folder."""
    if kind == "memory":
        return MemoryBackend(clock)
    return SqliteBackend(folder / "store.db", clock)


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Backend]:
    made = opened(request.param, tmp_path, clock)
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Backend]:
    """A second one, for what is taken from one to another."""
    folder = tmp_path / "target"
    folder.mkdir()
    made = opened(request.param, folder, clock)
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A project's store; the remote one speaks HTTP to a service over SQLite."""
    made = opened("memory" if request.param == "memory" else "sqlite", tmp_path, clock)
    project = made.create_project("default")
    if request.param == "remote":
        _, secret = made.create_key(project, ["admin"])
        app = create_app(made, clock=clock, log=lambda fields: None)
        with TestClient(app, base_url="http://service") as client:
            yield RemoteStore("http://service", secret, client=client)
    else:
        yield made.store(project)
    made.close()
