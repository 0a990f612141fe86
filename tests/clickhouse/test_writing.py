"""Several processes write one job at once, and what they were told counts."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clickhouse.cluster import Cluster
from tests.recording import until
from tests.store.samples import steps
from tunelog.access import Principal
from tunelog.backends.clickhouse import ClickHouseBackend, migrate, works
from tunelog.errors import InvalidRequest, NotFound, StoreUnavailable
from tunelog.ids import new_token
from tunelog.model import (
    Batch,
    Event,
    JobChanges,
    JobDetails,
    Snapshot,
    SnapshotArrived,
    SnapshotQuery,
    Status,
)


def batch(first: int, count: int, writer: int = 0) -> Batch:
    snapshots = [
        Snapshot("train", s, s * 1000, {"train/loss": s / 7}) for s in range(first, first + count)
    ]
    return Batch(snapshots=snapshots, writer=writer, first_seq=first)


@pytest.fixture
def url(cluster_2x2: Cluster) -> str:
    """A store of this test's own on two shards of two replicas."""
    made = cluster_2x2.url_of(database=f"tunelog_{new_token()}")
    migrate(made)
    return made


@pytest.fixture
def processes(url: str) -> Iterator[tuple[ClickHouseBackend, ClickHouseBackend]]:
    """What two service processes have in hand."""
    one, other = ClickHouseBackend(url), ClickHouseBackend(url)
    yield one, other
    one.close()
    other.close()


def test_what_two_processes_write_of_one_job_at_once_is_there_once(
    processes: tuple[ClickHouseBackend, ClickHouseBackend], url: str
) -> None:
    """Each batch is sent to both, in some order, as a client does that got no answer."""
    project = processes[0].create_project("default")
    stores = [backend.store(project) for backend in processes]
    job = stores[0].create_job(JobDetails(model="m"))

    def send(writer: int) -> None:
        chance = random.Random(writer)
        for first in range(0, 60, 6):
            for store in chance.sample(stores * 2, 3):
                receipt = store.append(job.id, batch(first, 6, writer))
                assert receipt.stored + receipt.duplicates == 6

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    number = next(number for number, _ in processes[0].states())
    shard = processes[0].shard(number)
    for node in shard.nodes:
        told = node.query(
            "SELECT writer, uniqExact(seq), max(seq) FROM snapshot"
            f" WHERE job = {number} GROUP BY writer ORDER BY writer FORMAT TabSeparatedRaw"
        )
        assert told.decode() == "".join(f"{writer}\t60\t59\n" for writer in range(4))


def test_attempts_that_two_processes_open_at_once_have_numbers_of_their_own(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    project = processes[0].create_project("default")
    stores = [backend.store(project) for backend in processes]
    job = stores[0].create_job(JobDetails(model="m"))
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda n: stores[n % 2].open_attempt(job.id).attempt, range(12)))
    assert sorted(opened) == list(range(1, 13))
    assert [each.attempt for each in stores[0].attempts(job.id)] == list(range(1, 13))


def test_a_job_that_two_processes_create_at_once_is_one(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    project = processes[0].create_project("default")
    stores = [backend.store(project) for backend in processes]
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda n: stores[n % 2].create_job(JobDetails(model=f"m{n}"), f"ft-{n // 4}"),
                range(20),
            )
        )
    for n, job in enumerate(made):
        assert job == stores[(n + 1) % 2].job(f"ft-{n // 4}")


def test_an_event_that_two_processes_are_told_of_at_once_is_there_once(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    project = processes[0].create_project("default")
    stores = [backend.store(project) for backend in processes]
    job = stores[0].create_job(JobDetails(model="m"))

    def tell(n: int) -> Event:
        event = Event(type="note", message=f"{n}", created_at=n, id=f"e{n % 3}")
        return stores[n % 2].add_event(job.id, event)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(tell, range(12)))
    kept = {event.id: event for event in stores[1].events(job.id) if event.id}
    assert len(kept) == 3
    assert all(event in kept.values() for event in told)


def test_a_change_that_has_to_be_made_anew_is_made_once(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    """The other process marks the job in between, so what was written first does not count."""
    project = processes[0].create_project("default")
    one, other = (backend.store(project) for backend in processes)
    job = one.create_job(JobDetails(model="m"))
    changes: tuple[tuple[Status, bool], ...] = (("running", True), ("error", False))
    for status, ends in changes:
        with pytest.raises(InvalidRequest):
            other.append(job.id, Batch(snapshots=batch(0, 1).snapshots, attempt=7))
        changed = one.update_job(job.id, JobChanges(status=status, seconds_remaining=5))
        assert (changed.status, changed.ends_at is not None) == (status, ends)
        assert other.job(job.id) == changed
    with pytest.raises(InvalidRequest):
        other.append(job.id, Batch(snapshots=batch(0, 1).snapshots, attempt=7))
    one.delete_job(job.id)
    with pytest.raises(NotFound):
        other.job(job.id)


def test_snapshots_that_another_process_sent_into_a_new_attempt_are_in_that_one_only(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    """`one` writes them into the attempt that it knows of, sees another, and writes them anew.

    There are more than are read by one statement, and they are read often enough for a hot job.
    """
    project = processes[0].create_project("default")
    one, other = (backend.store(project) for backend in processes)
    job = one.create_job(JobDetails(model="m")).id
    one.append(job, batch(0, 10))
    assert other.open_attempt(job, 5).attempt == 2
    logged = batch(3, 4_000).snapshots
    assert one.append(job, Batch(snapshots=logged, writer=1)).stored == 4_000
    for store in (one, other):
        assert store.summarize(job, SnapshotQuery(attempt=1)).snapshots["train"] == 10
        for _ in range(3):
            first = store.read(job, SnapshotQuery(attempt=1, resolution=7))
            assert (first.matched, first.returned) == (10, 7)
        assert steps(store.read(job)) == [0, 1, 2, *range(3, 4_003)]
        came = store.changes(job, SnapshotQuery(attempt="all"), limit=10_000).items
        assert sum(isinstance(change, SnapshotArrived) for change in came) == 4_010
    assert other.append(job, Batch(snapshots=logged[:2], writer=1)).stored == 2
    assert steps(other.read(job, SnapshotQuery(attempt=1))) == list(range(10))


def test_metrics_stand_in_the_order_first_logged_whoever_logged_them(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    """`one` writes its snapshot before it sees that there is an earlier one of another process."""
    project = processes[0].create_project("default")
    one, other = (backend.store(project) for backend in processes)
    job = one.create_job(JobDetails(model="m")).id
    other.append(job, Batch(snapshots=[Snapshot("train", 1, 1_000, {"train/b": 0.5})]))
    values: dict[str, int | float] = {"train/a": 1, "train/b": 2}
    one.append(job, Batch(snapshots=[Snapshot("train", 2, 2_000, values)]))
    for store in (one, other):
        assert [column.name for column in store.columns(job)] == ["train/b", "train/a"]


def test_a_job_that_was_deleted_by_another_process_is_not_found(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    project = processes[0].create_project("default")
    one, other = (backend.store(project) for backend in processes)
    job = one.create_job(JobDetails(model="m"), "ft-a")
    one.append(job.id, batch(0, 3))
    other.delete_job(job.id)
    with pytest.raises(Exception, match="no job ft-a"):
        one.append(job.id, batch(3, 3))
    again = other.create_job(JobDetails(model="n"), "ft-a")
    assert again.status == "pending"
    assert one.append(job.id, batch(0, 3)).stored == 3


def test_a_purge_leaves_nothing_of_a_deleted_job_and_all_of_one_under_its_id(
    processes: tuple[ClickHouseBackend, ClickHouseBackend],
) -> None:
    backend = processes[0]
    store = backend.store(backend.create_project("default"))
    for name in ("ft-gone", "ft-again"):
        store.create_job(JobDetails(model="m"), name)
        store.append(name, batch(0, 50))
        store.delete_job(name)
    store.create_job(JobDetails(model="n"), "ft-again")
    store.append("ft-again", batch(0, 5))
    assert backend.purge(2**63) == 1
    assert backend.purge(2**63) == 0


def test_without_a_second_replica_nothing_is_acknowledged_and_reads_go_on(
    cluster_2x2: Cluster, processes: tuple[ClickHouseBackend, ClickHouseBackend]
) -> None:
    backend = processes[0]
    store = backend.store(backend.create_project("default"))
    job = store.create_job(JobDetails(model="m"))
    store.append(job.id, batch(0, 3))
    shard = backend.shards.index(backend.shard(next(n for n, _ in backend.states()))) + 1
    with cluster_2x2.without(shard, 2):
        with pytest.raises(StoreUnavailable):
            store.append(job.id, batch(3, 3))
        assert store.job(job.id).status == "running"
    assert store.append(job.id, batch(3, 3)).stored + 0 in (0, 3)
    assert store.append(job.id, batch(3, 3)).duplicates == 3


def test_two_of_three_replicas_are_enough_to_write(cluster_1x3: Cluster) -> None:
    url = cluster_1x3.url_of(database=f"tunelog_{new_token()}")
    migrate(url)
    backend = ClickHouseBackend(url)
    store = backend.store(backend.create_project("default"))
    job = store.create_job(JobDetails(model="m"))
    stop = threading.Event()
    stored = []

    def write() -> None:
        first = 0
        while not stop.is_set():
            stored.append(store.append(job.id, batch(first, 2)))
            first += 2

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for replica in (1, 2, 3):
            with cluster_1x3.without(1, replica):
                before = len(stored)
                while len(stored) < before + 3:
                    pass
        stop.set()
        writing.result()
    backend.close()
    assert sum(receipt.stored for receipt in stored) == 2 * len(stored)


def test_a_round_puts_the_signs_of_life_of_a_shards_other_jobs_on_record(url: str) -> None:
    """So a process that dies takes little with it, though most rounds write of no job's state.

    They are written after the round is acknowledged: nobody waits for them.
    """
    now = begun = 10**18
    one, other = ClickHouseBackend(url, lambda: now), ClickHouseBackend(url)
    store = one.store(one.create_project("default"))
    names = [f"ft-{number}" for number in range(6)]
    for name in names:
        store.create_job(JobDetails(model="m"), name)
    now += works.HEARD_NS // 3
    for name in names:
        store.append(name, batch(0, 0))
    assert {state.job.heard_at for _, state in other.states()} == {begun}
    now += works.HEARD_NS // 3
    store.append(names[0], batch(0, 0))
    mates = next(its for its in by_shard(other) if names[0] in its).keys()
    assert len(mates) > 1

    def are_recorded() -> bool:
        recorded = next(its for its in by_shard(other) if names[0] in its)
        return all(recorded[name] > begun for name in mates)

    until(are_recorded, "the signs of life to be on record")
    one.close()
    other.close()


def by_shard(backend: ClickHouseBackend) -> list[dict[str, int]]:
    """When the jobs of each shard were last heard of, as this process knows."""
    found = backend.states()
    return [
        {s.job.id: s.job.heard_at for number, s in found if backend.shard(number) is shard}
        for shard in backend.shards
    ]


def test_a_store_of_which_another_shard_is_away_is_ready_and_serves_its_other_jobs(
    cluster_2x2: Cluster, processes: tuple[ClickHouseBackend, ClickHouseBackend]
) -> None:
    """Else a balancer would take every service away, and with them all jobs."""
    backend = processes[0]
    store = backend.store(backend.create_project("default"))
    for number in range(8):
        store.create_job(JobDetails(model="m"), f"ft-{number}")
    at_first, at_second = by_shard(backend)
    assert at_first
    with cluster_2x2.without(2, 1), cluster_2x2.without(2, 2):
        backend.check()
        assert {store.job(job).status for job in at_first} == {"pending"}
        with pytest.raises(StoreUnavailable):
            store.job(next(iter(at_second)))
    assert {store.job(job).status for job in at_second} == {"pending"}


def test_requests_that_come_at_once_look_their_key_up_once(
    cluster_2x2: Cluster, processes: tuple[ClickHouseBackend, ClickHouseBackend]
) -> None:
    _, secret = processes[0].create_key(processes[0].create_project("default"), ["write"])

    def statements() -> int:
        told = cluster_2x2.everywhere("SELECT value FROM system.events WHERE event = 'SelectQuery'")
        return sum(map(int, told))

    together = threading.Barrier(32)

    def request(_: int) -> Principal:
        together.wait()
        return processes[1].authenticate(secret)

    before = statements()
    own = statements() - before
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(request, range(32)))
    asked = statements() - before - 2 * own
    assert {principal.project.name for principal in found} == {"default"}
    assert 0 < asked < 10
