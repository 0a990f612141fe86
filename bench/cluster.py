"""A real ClickHouse cluster, two services on it, and more and more trainers that log once a second.

All of it runs on this machine, the trainers too, so what it bears is far from what a cluster bears;
cores, bytes on disk and bytes on the network for a snapshot are what to reckon with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from bench.data import DETAILS
from bench.figures import Figure, Spread, figure, shown
from bench.goals import Goal
from bench.growth import Growth, Step
from bench.machine import Load, machine
from bench.processes import ServerProcess, cpu_seconds
from bench.writers import Logging, Waited
from tests.clickhouse.cluster import Cluster
from tunelog.backends.clickhouse import ClickHouseBackend, migrate

LAYOUTS: Final = ((2, 2), (1, 3))
WRITERS: Final = (100, 250, 500, 1000, 1500, 2000)
METRICS: Final = 10
SECONDS, WARM = 30.0, 5.0
ACKNOWLEDGED_GOAL: Final = Goal("≤", 0.5)
GOAL_WRITERS: Final = 1000
TOO_LONG: Final = 5.0
"""Where the p99 is beyond this, more writers are not tried."""

STEPS: Final = 1_000_000
"""Steps that the writers of one row may take."""

_PROCESSES: Final = 2


class Clustered:
    """A cluster with two services in front, for the time of a `with`.

    Attributes:
        cluster: its nodes.
        services: the two processes.
        url: the store's URL.
        key: an API key that may do everything.
    """

    def __init__(self, cluster: Cluster, services: Sequence[ServerProcess], key: str) -> None:
        self.cluster, self.services, self.key = cluster, services, key
        self.url = cluster.url

    def cpu(self) -> tuple[float, float, float]:
        """CPU seconds of the services, of the ClickHouse nodes, of ZooKeeper."""
        return (
            sum(service.cpu_seconds() for service in self.services),
            sum(cpu_seconds(self.cluster.pid(*node)) for node in self.cluster.nodes),
            cpu_seconds(self.cluster.zookeeper_pid),
        )

    def disk(self) -> float:
        """Bytes on disk for a snapshot, on one replica of each shard."""
        size = rows = 0
        for node in self._first_replicas():
            answer = self.cluster.query(
                "SELECT sum(bytes_on_disk), sumIf(rows, table = 'snapshot') FROM system.parts"
                " WHERE active AND database = 'tunelog'",
                *node,
            )
            its_size, its_rows = map(int, answer.split())
            size, rows = size + its_size, rows + its_rows
        return size / rows

    def merge(self) -> None:
        """Have ClickHouse merge all parts of the tables, as it does by and by."""
        for node in self._first_replicas():
            for table in ("snapshot", "record"):
                self.cluster.query(f"OPTIMIZE TABLE tunelog.{table} FINAL", *node)

    def _first_replicas(self) -> list[tuple[int, int]]:
        return [node for node in self.cluster.nodes if node[1] == 1]


@contextmanager
def clustered(folder: Path, shards: int, replicas: int) -> Iterator[Clustered]:
    """A new cluster, and two services on it."""
    folder.mkdir()
    with Cluster(folder, shards, replicas) as cluster:
        migrate(cluster.url)
        backend = ClickHouseBackend(cluster.url)
        _, key = backend.create_key(backend.create_project("default"), ["admin"])
        backend.close()
        with service(cluster.url) as one, service(cluster.url) as other:
            yield Clustered(cluster, (one, other), key)


def service(url: str) -> ServerProcess:
    """`tunelog serve` on a cluster. Its access log goes to /dev/null, but is written."""
    command = [sys.executable, "-m", "tunelog", "serve", "--store", url]
    return ServerProcess([*command, "--host", "127.0.0.1", "--port"], "/readyz")


def grow(
    folder: Path, shards: int, replicas: int, writers: Sequence[int], seconds: float
) -> Growth:
    """More and more writers on a new cluster, until they wait too long."""
    load = Load()
    print(f"{shards}x{replicas}", file=sys.stderr)
    steps: list[Step] = []
    with clustered(folder, shards, replicas) as place:
        _create_jobs(place.url, max(writers))
        for number in writers:
            step = _step(place, number, len(steps), seconds)
            print(f"  {step}", file=sys.stderr)
            steps.append(step)
            if step.p99 > TOO_LONG:
                break
        place.merge()
        merged = place.disk()
    return Growth(
        shards=shards,
        replicas=replicas,
        metrics=METRICS,
        seconds=seconds,
        machine=machine(),
        load=load.so_far(),
        steps=steps,
        merged=merged,
    )


def acknowledged(growth: Growth) -> Figure:
    """How long the snapshots of the goal's number of writers waited, or those of the most."""
    step = next((s for s in growth.steps if s.writers == GOAL_WRITERS), growth.steps[-1])
    waits = [shown(seconds, unit="s") for seconds in (step.p50, step.most)]
    used = step.services / step.rate
    return figure(
        f"acknowledged p99, {step.writers:,} writers, 2 services, {growth.name}",
        "s",
        [step.p99],
        goals=[ACKNOWLEDGED_GOAL] if step.writers == GOAL_WRITERS else [],
        cpu=used,
        note=f"p50 {waits[0]}, most {waits[1]}, {step.rate:,.0f} snapshots/s",
    )


def _create_jobs(url: str, count: int) -> None:
    backend = ClickHouseBackend(url)
    store = backend.store(backend.create_project("default"))
    with ThreadPoolExecutor(256) as pool:
        list(pool.map(lambda number: store.create_job(DETAILS, _job(number)), range(count)))
    backend.close()


def _job(number: int) -> str:
    return f"ft-bench-{number:05}"


def _step(place: Clustered, writers: int, turn: int, seconds: float) -> Step:
    """So many writers for so long; each job is written by way of one service."""
    places = [(_job(n), place.services[n % 2].port) for n in range(writers)]
    loads = [
        Logging(places[at::_PROCESSES], place.key, METRICS, turn * STEPS, WARM, seconds)
        for at in range(_PROCESSES)
    ]
    cpu, network = place.cpu(), _loopback_bytes()
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
        came = list(pool.map(_logged, loads))
    used = [after - before for before, after in zip(cpu, place.cpu(), strict=True)]
    carried = sum(each.carried for each in came)
    return _seen(writers, came, used, _loopback_bytes() - network - carried, place.disk())


def _logged(load: Logging) -> Waited:
    return load.run()


def _seen(
    writers: int, came: Sequence[Waited], used: Sequence[float], network: int, disk: float
) -> Step:
    """A step's figures; what was used is that of a snapshot, times their rate."""
    acknowledged = sum(each.acknowledged for each in came)
    rate = acknowledged / max(each.wall for each in came)
    services, engine, keeper = (seconds / acknowledged * rate for seconds in used)
    spread = Spread.of([seconds for each in came for seconds in each.seconds])
    return Step(
        writers=writers,
        rate=rate,
        p50=spread.median,
        p99=spread.p99,
        most=spread.high,
        troubles=sum(sum(each.troubles.values()) for each in came),
        missing=sum(each.missing for each in came),
        services=services,
        engine=engine,
        keeper=keeper,
        clients=sum(each.cpu for each in came) / acknowledged * rate,
        network=network / acknowledged * rate,
        arriving=sum(each.carried for each in came) / acknowledged * rate,
        disk=disk,
    )


def _loopback_bytes() -> int:
    """Bytes that this machine sent to itself so far."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    raise RuntimeError("no loopback device")
