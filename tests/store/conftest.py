"""`store`: every backend in turn, on a clock that the test moves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.clickhouse.stores import new_store, shared_store
from tunelog.backends.clickhouse import ClickHouseBackend
from tunelog.backends.memory import MemoryBackend
from tunelog.backends.remote import RemoteStore
from tunelog.backends.sqlite import SqliteBackend
from tunelog.server import create_app
from tunelog.store import Backend, Store

CLICKHOUSE = {
    "clickhouse-2x2": "cluster_2x2",
    "clickhouse-1x3": "cluster_1x3",
    "clickhouse-modern": "modern",
}
"""The kinds of store that are ClickHouse, each with the fixture that has its servers."""


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
"""The kinds of store that need no server."""


def opened(kind: str, folder: Path, clock: Callable[[], int]) -> Backend:
    """A new backend of a kind; what it keeps is in the folder."""
    if kind == "memory":
        return MemoryBackend(clock)
    return SqliteBackend(folder / "store.db", clock)


@pytest.fixture(params=[*KINDS, *CLICKHOUSE])
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Backend]:
    """An empty backend."""
    made: Backend
    if request.param in KINDS:
        made = opened(request.param, tmp_path, clock)
    else:
        servers = request.getfixturevalue(CLICKHOUSE[request.param])
        made = ClickHouseBackend(new_store(servers), clock)
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


@pytest.fixture(params=["memory", "sqlite", "remote", *CLICKHOUSE])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A new project's store; the remote one speaks HTTP to a service over SQLite."""
    made: Backend
    if request.param == "memory":
        made = opened("memory", tmp_path, clock)
    elif request.param in CLICKHOUSE:
        servers = request.getfixturevalue(CLICKHOUSE[request.param])
        made = ClickHouseBackend(shared_store(servers), clock)
    else:
        made = opened("sqlite", tmp_path, clock)
    project = made.create_project(f"project-{uuid.uuid4()}")
    if request.param == "remote":
        _, secret = made.create_key(project, ["admin"])
        app = create_app(made, clock=clock, log=lambda fields: None)
        with TestClient(app, base_url="http://service") as client:
            yield RemoteStore("http://service", secret, client=client)
    else:
        yield made.store(project)
    made.close()
