"""Processes that write a shard at the same time have one of them write for all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.stores import new_store
from tests.recording import until
from tunelog.backends.clickhouse import ClickHouseBackend, address, lane, records
from tunelog.backends.clickhouse.lane import Lane, Receiver
from tunelog.backends.clickhouse.reception import MOST_BYTES, Reception
from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.errors import StoreUnavailable
from tunelog.ids import new_id
from tunelog.model import Batch, JobDetails, Snapshot

Backends = list[ClickHouseBackend]
JOBS = 4
"""Of each process on each of two shards."""


@pytest.fixture
def store(cluster_2x2: Cluster) -> str:
    """A store of this test's own on two shards of two replicas."""
    return new_store(cluster_2x2)


@pytest.fixture
def processes(store: str) -> Iterator[Backends]:
    """What three service processes have in hand."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(ClickHouseBackend(store))) for _ in range(3)]


def batch(step: int) -> Batch:
    snapshots = [Snapshot("train", step, step * 1000, {"train/loss": step / 7})]
    return Batch(snapshots=snapshots, first_seq=step)


@contextmanager
def writing(backends: Backends) -> Iterator[dict[str, list[int]]]:
    """Each process writes jobs of its own meanwhile; which steps of each were acknowledged."""
    project = backends[0].create_project("default")
    ended = threading.Event()
    acknowledged: dict[str, list[int]] = {}

    def write(backend: ClickHouseBackend, job: str) -> None:
        store = backend.store(project)
        store.create_job(JobDetails(model="m"), job)
        step = 0
        while not ended.is_set():
            try:
                store.append(job, batch(step))
            except StoreUnavailable:
                continue
            acknowledged[job].append(step)
            step += 1

    threads = []
    for backend in backends:
        for job in names(project.id):
            acknowledged[job] = []
            threads.append(threading.Thread(target=write, args=(backend, job)))
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def names(project: str) -> list[str]:
    """The ids of some new jobs, as many on each shard."""
    found: list[list[str]] = [[], []]
    while not all(len(its) >= JOBS for its in found):
        job = new_id("ft-")
        found[records.number(project, job) % 2].append(job)
    return [job for its in found for job in its[:JOBS]]


def lanes(backends: Backends, shard: int) -> list[Lane]:
    return [backend.lanes[shard] for backend in backends]


def writers(backends: Backends, shard: int) -> list[int]:
    """Which of the processes write a shard themselves."""
    return [at for at, each in enumerate(lanes(backends, shard)) if each.other is None]


def company(backends: Backends) -> None:
    """Return when each shard is written by one process, and all know by which."""

    def found() -> bool:
        return all(
            len(writers(backends, shard)) == 1
            and len({each.other for each in lanes(backends, shard)}) == 2
            for shard in range(2)
        )

    until(found, "one writer of each shard")


def goes_on(acknowledged: dict[str, list[int]]) -> None:
    """Return when each job had two more snapshots acknowledged."""
    before = {job: len(steps) for job, steps in acknowledged.items()}
    until(
        lambda: all(len(acknowledged[job]) > count + 1 for job, count in before.items()),
        "all jobs go on",
    )


def assert_all_is_there_once(backend: ClickHouseBackend, told: dict[str, list[int]]) -> None:
    store = backend.store(backend.create_project("default"))
    for job, steps in told.items():
        assert steps == list(range(len(steps)))
        found = b"".join(store.read(job).chunks).count(b'"train/loss"')
        assert found == store.summarize(job).snapshots["train"]
        assert found == len(steps)


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("it writes itself")


def test_one_writes_for_all_and_all_is_there_once(
    processes: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others put nothing into the tables themselves from then on."""
    with writing(processes) as acknowledged:
        company(processes)
        for shard in range(2):
            for each in lanes(processes, shard):
                if each.other is not None:
                    for together in each._together.values():
                        monkeypatch.setattr(together, "_insert", refuse)
        goes_on(acknowledged)
    assert_all_is_there_once(processes[0], acknowledged)


def test_blocks_of_several_processes_are_one(
    processes: Backends, store: str, cluster_2x2: Cluster
) -> None:
    """So there are fewer than acknowledged rounds: each process had all of its jobs in each."""
    with writing(processes) as acknowledged:
        company(processes)
        goes_on(acknowledged)
        blocks, rounds = count_blocks(cluster_2x2, store), total(acknowledged)
        goes_on(acknowledged)
        goes_on(acknowledged)
        blocks = count_blocks(cluster_2x2, store) - blocks
        rounds = (total(acknowledged) - rounds) // (2 * JOBS)
    assert 0 < blocks < 2 * rounds


def total(acknowledged: dict[str, list[int]]) -> int:
    return sum(map(len, acknowledged.values()))


def count_blocks(cluster: Cluster, store: str) -> int:
    """How many blocks of snapshots were written so far."""
    database = store.rpartition("/")[2].partition("?")[0]
    return sum(
        1 + int(cluster.query(
            "SELECT max(max_block_number) FROM system.parts"
            f" WHERE database = '{database}' AND table = 'snapshot'",
            shard,
            1,
        ))
        for shard in (1, 2)
    )  # fmt: skip


def test_when_the_writer_ends_another_writes(processes: Backends) -> None:
    with writing(processes[1:]) as acknowledged:
        with writing(processes[:1]) as ended:
            company(processes)
        processes[0].close()
        goes_on(acknowledged)
        company(processes[1:])
        goes_on(acknowledged)
    assert_all_is_there_once(processes[1], {**acknowledged, **ended})


@pytest.fixture
def shard(store: str) -> Iterator[Shard]:
    """The first shard, in the hands of a process of its own."""
    with closing(ClickHouseBackend(store)) as backend:
        yield backend.shards[0]


def look(by: Lane) -> None:
    by.look(Receiver("http://127.0.0.1:1", "mine"))


def beside(shard: Shard, origin: str) -> Lane:
    """A lane that has looked, beside another process that comes first in everybody's order."""
    name = min(map(str, range(10_000)), key=lambda name: records.number("0", name))
    Lane(shard, 0, name, lambda: None)._tell(Receiver(origin, "s3cret"))
    mine = Lane(shard, 0, "ffff", lambda: None)
    look(mine)
    return mine


def other(of: Lane) -> str | None:
    return of.other


def put(into: Lane, number: int) -> records.Record:
    """Write a record by a lane."""
    record = records.Record(Kind.EVENT, number, "x", time.time_ns(), b"{}")
    into.keep([record])
    return record


def there(shard: Shard, number: int) -> list[records.Record]:
    return shard.records(f"kind = {Kind.EVENT:d} AND job = {number}")


def test_one_that_hangs_is_done_without(shard: Shard) -> None:
    """It answers once, and never again."""
    mute = socket.create_server(("127.0.0.1", 0))

    def answer_once() -> None:
        connection, _ = mute.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    answering = threading.Thread(target=answer_once)
    answering.start()
    mine = beside(shard, f"http://127.0.0.1:{mute.getsockname()[1]}")
    answering.join()
    assert other(mine) is not None
    record = put(mine, 1)
    assert there(shard, 1) == [record]
    assert other(mine) is None
    look(mine)
    assert other(mine) is None, "not asked again so soon"
    mute.close()


def test_one_that_died_is_not_turned_to(shard: Shard) -> None:
    mine = beside(shard, "http://127.0.0.1:1")
    assert other(mine) is None


def test_one_that_died_since_is_done_without(shard: Shard) -> None:
    reception = Reception("127.0.0.1", "s3cret", lambda asked, body: 0.0)
    mine = beside(shard, reception.origin)
    assert other(mine) == reception.origin
    reception.close()
    record = put(mine, 2)
    assert there(shard, 2) == [record]


def test_one_that_takes_nothing_of_ours_is_done_without(shard: Shard) -> None:
    """It has another secret by now."""
    reception = Reception("127.0.0.1", "another", lambda asked, body: 0.0)
    mine = beside(shard, reception.origin)
    record = put(mine, 3)
    assert there(shard, 3) == [record]
    reception.close()


def test_one_that_cannot_write_says_so_and_is_not_asked_the_next_time(shard: Shard) -> None:
    def take(*_: Any) -> float:
        raise StoreUnavailable("ClickHouse: not written to two replicas")

    reception = Reception("127.0.0.1", "s3cret", take)
    mine = beside(shard, reception.origin)
    with pytest.raises(StoreUnavailable, match="not written to two replicas"):
        put(mine, 4)
    record = put(mine, 5)
    assert there(shard, 5) == [record]
    reception.close()


def test_one_that_says_nothing_in_time_may_have_written(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "WRITE_SECONDS", 0.2)
    ended = threading.Event()
    reception = Reception("127.0.0.1", "s3cret", lambda asked, body: float(ended.wait()))
    mine = beside(shard, reception.origin)
    with pytest.raises(StoreUnavailable, match="no answer of http"):
        put(mine, 6)
    ended.set()
    reception.close()


def test_who_was_silent_for_long_is_not_turned_to(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    reception = Reception("127.0.0.1", "s3cret", lambda asked, body: 0.0)
    monkeypatch.setattr(lane, "SILENT_SECONDS", 0.0)
    mine = beside(shard, reception.origin)
    assert other(mine) is None
    reception.close()


def test_a_large_block_is_written_by_who_has_it(shard: Shard) -> None:
    reception = Reception("127.0.0.1", "s3cret", lambda asked, body: 0.0)
    mine = beside(shard, reception.origin)
    assert other(mine) == reception.origin
    record = records.Record(Kind.EVENT, 7, "x", 1, b'"' + b"x" * MOST_BYTES + b'"')
    mine.keep([record])
    assert there(shard, 7) == [record]
    reception.close()


def test_a_process_alone_takes_no_blocks(store: str) -> None:
    """And one whose store is encrypted on its way, as what it would take is not."""
    assert address.parse("clickhouses://h/tunelog").is_private
    assert not address.parse("clickhouse://h/tunelog").is_private
    with closing(ClickHouseBackend(store)) as backend:
        job = backend.store(backend.create_project("default")).create_job(JobDetails(model="m"))
        for step in range(3):
            backend.store(backend.create_project("default")).append(job.id, batch(step))
        told = [each.records(f"kind = {Kind.RECEIVER:d}") for each in backend.shards]
        assert told == [[], []]
