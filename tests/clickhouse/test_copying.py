"""What one replica alone has, as after a lost ZooKeeper, keeps nobody from writing on."""

from __future__ import annotations

import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.stores import new_store
from tests.recording import until
from tests.store.samples import batch, steps, train
from tunelog.backends.clickhouse import ClickHouseBackend, records, rows
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.records import Kind
from tunelog.model import JobDetails, Snapshot
from tunelog.store import Store

JOB = "ft-1"


def begun(url: str) -> tuple[ClickHouseBackend, Store, int]:
    """A process, and the number of a job with three snapshots that another wrote, which is gone."""
    writing, backend = ClickHouseBackend(url), ClickHouseBackend(url)
    project = writing.create_project("default")
    writing.store(project).create_job(JobDetails(model="m"), JOB)
    writing.store(project).append(JOB, batch(train(1), train(2), train(3), first_seq=0))
    writing.close()
    [(number, _)] = backend.states()
    return backend, backend.store(project), number


def insert_alone(node: Node, number: int, snapshot: Snapshot, seq: int) -> None:
    """What a process wrote of a job next, and the others were not told of."""
    arrival = int(node.query(f"SELECT max(arrival) FROM snapshot WHERE job = {number}")) + 1
    told = rows.Names().news(number, snapshot, arrival)
    node.insert(rows.INSERT, rows.encode(number, 1, 0, [(seq, arrival, 0, snapshot)]))
    node.insert(records.INSERT, records.encode(told))


def seqs(node: Node, number: int) -> list[int]:
    """The snapshots that a replica has."""
    found = node.query(f"SELECT DISTINCT seq FROM snapshot WHERE job = {number} ORDER BY seq")
    return [int(seq) for seq in found.split()]


def metrics(node: Node, number: int) -> int:
    """How many metrics a replica knows of."""
    sql = f"SELECT uniqExact(id) FROM record WHERE kind = {Kind.METRIC:d} AND job = {number}"
    return int(node.query(sql))


@pytest.mark.parametrize("alone", [0, 1])
def test_what_one_of_two_replicas_has_is_copied_before_the_job_is_written(
    cluster_2x2: Cluster, alone: int
) -> None:
    backend, store, number = begun(new_store(cluster_2x2))
    nodes = backend.shard(number).nodes
    for table in ("snapshot", "record"):
        nodes[1 - alone].query(f"SYSTEM STOP FETCHES {table}")
    unheard = train(4, loss=0.5, grad_norm=2.0)
    insert_alone(nodes[alone], number, unheard, 3)
    assert [seqs(node, number) for node in nodes] != [[0, 1, 2, 3]] * 2

    receipt = store.append(JOB, batch(unheard, train(5), first_seq=3))

    assert (receipt.stored, receipt.duplicates) == (1, 1)
    assert [seqs(node, number) for node in nodes] == [[0, 1, 2, 3, 4]] * 2
    assert [metrics(node, number) for node in nodes] == [2, 2]
    assert steps(store.read(JOB)) == [1, 2, 3, 4, 5]
    assert [column.name for column in store.columns(JOB)] == ["train/loss", "train/grad_norm"]
    backend.close()


def test_what_one_of_three_replicas_lacks_is_its_own_affair(cluster_1x3: Cluster) -> None:
    """The two others say the same, which is enough."""
    backend, store, number = begun(new_store(cluster_1x3))
    nodes = backend.shard(number).nodes
    until(lambda: all(seqs(node, number) == [0, 1, 2] for node in nodes), "all to have all")
    nodes[1].query("SYSTEM STOP FETCHES snapshot")
    insert_alone(nodes[0], number, train(4), 3)
    until(lambda: seqs(nodes[2], number) == [0, 1, 2, 3], "another replica to have it, too")

    receipt = store.append(JOB, batch(train(4), first_seq=3))

    assert (receipt.stored, receipt.duplicates) == (0, 1)
    assert seqs(nodes[1], number) == [0, 1, 2]
    assert steps(store.read(JOB)) == [1, 2, 3, 4]
    backend.close()
