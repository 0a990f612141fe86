"""Whatever is killed while many write: what was acknowledged is on every replica, once.

Twenty writers log to two service processes, each batch again and again until one acknowledges it.
Meanwhile replicas, service processes and ZooKeeper are killed and started again, and one replica
hangs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.clickhouse.asking import url_of
from tests.clickhouse.cluster import Cluster
from tests.clickhouse.stores import new_store
from tests.recording import until
from tests.serving import Server
from tests.store.samples import rows
from tests.writers import Writer, end, in_order
from tunelog.access import Project
from tunelog.backends.clickhouse import ClickHouseBackend, records
from tunelog.backends.clickhouse.schema import TABLES
from tunelog.backends.memory import MemoryBackend
from tunelog.model import SnapshotQuery
from tunelog.server import create_app

JOBS, WRITERS = 4, 5
LONG = 120.0
"""Seconds in which everybody gets on: a replica that lost ZooKeeper tries every ten to have it
back, and a write that cannot be acknowledged is given up after ten."""


@dataclass(frozen=True)
class Drill:
    """Two service processes on one store, and the writers of each job."""

    cluster: Cluster
    store: str
    project: Project
    services: Sequence[Server]
    writers: dict[str, list[Writer]]
    chance: random.Random

    @property
    def everyone(self) -> list[Writer]:
        return [writer for its in self.writers.values() for writer in its]

    def shard(self, job: str) -> int:
        """The number of the shard that a job is on."""
        shards = max(shard for shard, _ in self.cluster.nodes)
        return records.number(self.project.id, job) % shards + 1

    # ------------------------------------------------------------ what is killed

    def kill_a_replica(self) -> None:
        """It comes back with what it had."""
        self.lose_a_replica(self.cluster.without)

    def hang_a_replica(self) -> None:
        """It neither answers nor hangs up, and goes on later as if nothing had been."""
        self.lose_a_replica(self.cluster.paused)

    def lose_a_replica(self, lost: Callable[[int, int], AbstractContextManager[None]]) -> None:
        """Two of three go on; one of two acknowledges nothing, and the other shard goes on."""
        shard, replica = self.chance.choice(self.cluster.nodes)
        its = [w for job in self.writers if self.shard(job) == shard for w in self.writers[job]]
        with lost(shard, replica):
            if (shard, 3) in self.cluster.nodes:
                self.get_on(its)
            else:
                self.get_on([writer for writer in self.everyone if writer not in its])
                self.try_in_vain(its)

    def kill_a_service(self) -> None:
        """The other goes on, also with the jobs that this one wrote."""
        service = self.chance.choice(self.services)
        service.kill()
        assert "Traceback" not in "\n".join(service.log)
        self.get_on(self.everyone)
        service.start()

    def kill_zookeeper(self) -> None:
        """Nothing is acknowledged, and reads go on."""
        with self.cluster.without_zookeeper():
            self.try_in_vain(self.everyone)
            for service in self.services:
                with service.client() as api:
                    for job in self.writers:
                        assert api.get(f"/v1/fine-tunes/{job}/metrics?resolution=9").is_success

    # ------------------------------------------------------------ what is waited for

    def get_on(self, writers: Sequence[Writer]) -> None:
        """Each of them has another batch acknowledged."""
        before = [writer.acknowledged for writer in writers]
        self._wait(lambda: all(w.acknowledged > n for w, n in zip(writers, before, strict=True)))

    def try_in_vain(self, writers: Sequence[Writer]) -> None:
        """Some of them are told to try again."""
        before = [writer.repeats for writer in writers]
        self._wait(lambda: any(w.repeats > n for w, n in zip(writers, before, strict=True)))

    def _wait(self, condition: Callable[[], bool]) -> None:
        until(lambda: condition() or self.failures, "the writers", patience=LONG)
        assert not self.failures

    @property
    def failures(self) -> list[BaseException]:
        return [writer.failure for writer in self.everyone if writer.failure]


@contextmanager
def started(cluster: Cluster, folder: Path, seed: int) -> Iterator[Drill]:
    """A drill whose writers are at work."""
    chance = random.Random(seed)
    store = new_store(cluster)
    with ExitStack() as stack:
        one = stack.enter_context(Server(folder, store=store))
        other = stack.enter_context(Server(folder, store=store, api_key=one.api_key))
        backend = ClickHouseBackend(store)
        project = backend.create_project("default")
        backend.close()
        drill = Drill(cluster, store, project, (one, other), {}, chance)
        with one.client() as api:
            for job in names(drill):
                assert api.post("/v1/fine-tunes", json={"model": "m", "id": job}).is_success
                drill.writers[job] = [
                    Writer(
                        drill.services, job, rank, chance.getrandbits(32), may_be_unavailable=True
                    )
                    for rank in range(WRITERS)
                ]
        for writer in drill.everyone:
            writer.start()
        try:
            yield drill
        finally:
            end(drill.everyone, LONG)
        assert not drill.failures
        for service in drill.services:
            assert service.stop() == 0
            assert "Traceback" not in "\n".join(service.log)


def names(drill: Drill) -> list[str]:
    """The ids of some jobs, as many on each shard."""
    shards = sorted({shard for shard, _ in drill.cluster.nodes})
    found: dict[int, list[str]] = {shard: [] for shard in shards}
    for number in range(1_000):
        found[drill.shard(f"ft-{number}")].append(f"ft-{number}")
    return [job for shard in shards for job in found[shard][: JOBS // len(shards)]]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["cluster_2x2", "cluster_1x3"])
def test_what_is_acknowledged_is_on_every_replica_once(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with started(request.getfixturevalue(layout), tmp_path, seed) as drill:
        deeds = [drill.kill_a_replica, drill.kill_a_service, drill.kill_zookeeper] * 2
        deeds.append(drill.hang_a_replica)
        for deed in drill.chance.sample(deeds, len(deeds)):
            print(deed.__name__)
            deed()
            drill.get_on(drill.everyone)
        end(drill.everyone, LONG)
        acknowledged = sum(writer.acknowledged for writer in drill.everyone)
        print(f"{acknowledged} batches, sent again {sum(w.repeats for w in drill.everyone)} times")
        assert_the_services_answer_as_memory_does(drill)
        assert_every_replica_has_all(drill)


def assert_the_services_answer_as_memory_does(drill: Drill) -> None:
    memory = MemoryBackend()
    _, secret = memory.create_key(memory.create_project("default"), ["admin"])
    app = create_app(memory, log=lambda fields: None)
    headers = {"Authorization": f"Bearer {secret}"}
    with TestClient(app, base_url="http://memory", headers=headers) as model:
        for job, writers in drill.writers.items():
            model.post("/v1/fine-tunes", json={"model": "m", "id": job})
            for rank, writer in enumerate(writers):
                body = {"metrics": writer.rows, "writer": rank, "first_seq": 0}
                assert model.post(f"/v1/fine-tunes/{job}/metrics", json=body).is_success
        for service in drill.services:
            with service.client() as api:
                for job in drill.writers:
                    assert answers(api, job) == answers(model, job)


def answers(api: httpx2.Client, job: str) -> list[Any]:
    at = f"/v1/fine-tunes/{job}/metrics"
    paths = (f"{at}?nonfinite=string", f"{at}?resolution=100", f"{at}/summary")
    return [api.get(path).json() for path in paths]


def assert_every_replica_has_all(drill: Drill) -> None:
    """Each is read alone, as a cluster without replicas."""
    database = drill.store.rpartition("/")[2].partition("?")[0]
    for table in TABLES:
        drill.cluster.everywhere(f"SYSTEM SYNC REPLICA {database}.{table}")
    for replica in sorted({replica for _, replica in drill.cluster.nodes}):
        ports = [drill.cluster.port(*node) for node in drill.cluster.nodes if node[1] == replica]
        backend = ClickHouseBackend(url_of(ports, "default", "", database))
        store = backend.store(drill.project)
        for job, writers in drill.writers.items():
            read = rows(store.read(job, SnapshotQuery(nonfinite="string")))
            assert read == in_order(writers)
        backend.close()
