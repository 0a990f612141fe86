"""The published clients, pointed at the session's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.published import Published
from tests.serving import Server


@pytest.fixture(scope="session")
def published(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """The clients, with a home of their own."""
    clients = Published(server, tmp_path_factory.mktemp("home"))
    yield clients
    clients.close()
