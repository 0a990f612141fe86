"""What tests of every kind share: a real server, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.serving import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for the whole session; tests tell their jobs apart by id.

    Whatever they do to it, it ends as it should and never shows a traceback.
    """
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in "\n".join(server.log)


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    """A real server of this test alone, on an empty store."""
    with Server(tmp_path) as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[httpx2.Client]:
    """A client of the session's server, with its address and key."""
    with server.client() as client:
        yield client
