"""What tests of every kind share: a real server, a client of it, and real ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.modern import Modern
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


@pytest.fixture(scope="module")
def cluster_2x2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two shards of two replicas each; tests share it, each in a database of its own.

    A test that kills a node brings it back.
    """
    with Cluster(tmp_path_factory.mktemp("cluster-2x2"), shards=2, replicas=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_1x3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One shard of three replicas, shared like `cluster_2x2`."""
    with Cluster(tmp_path_factory.mktemp("cluster-1x3"), shards=1, replicas=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modern]:
    """One node of today's ClickHouse, shared like `cluster_2x2`."""
    with Modern(tmp_path_factory.mktemp("modern")) as modern:
        yield modern
