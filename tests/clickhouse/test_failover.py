"""A server that is lost, in whatever way, holds nobody up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.stores import shared_store
from tests.serving import PATIENCE
from tests.store.samples import batch, steps, train
from tunelog.backends.clickhouse import ClickHouseBackend, connections
from tunelog.ids import new_token
from tunelog.model import JobDetails
from tunelog.store import Store


@pytest.fixture
def store(cluster_1x3: Cluster) -> Iterator[Store]:
    backend = ClickHouseBackend(shared_store(cluster_1x3))
    yield backend.store(backend.create_project(new_token()))
    backend.close()


@pytest.mark.parametrize("replica", [1, 2, 3])
def test_a_replica_that_neither_answers_nor_hangs_up(
    cluster_1x3: Cluster, store: Store, replica: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose machine is out of memory, or whose network drops what is sent."""
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(connections, "PING_SECONDS", 0.5)
    job = store.create_job(JobDetails(model="m")).id

    def write_and_read() -> list[int]:
        for step in range(1, 4):
            store.append(job, batch(train(step), first_seq=step))
        return steps(store.read(job))

    with ThreadPoolExecutor(1) as pool:
        with cluster_1x3.paused(1, replica):
            done = pool.submit(write_and_read).result(PATIENCE)
        assert done == [1, 2, 3]
