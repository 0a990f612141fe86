"""The test cluster itself does what its tests take for granted."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx2
import pytest

from tests.clickhouse.asking import QueryError
from tests.clickhouse.cluster import Cluster
from tests.recording import until
from tests.serving import PATIENCE


def replicated_table(cluster: Cluster) -> str:
    """A new table on every node, replicated within its shard."""
    table = f"default.numbers_{uuid.uuid4().hex}"
    cluster.everywhere(
        f"CREATE TABLE {table} (n UInt64) ENGINE = "
        f"ReplicatedMergeTree('/{table}/{{shard}}', '{{replica}}') ORDER BY n"
    )
    return table


def accepts(cluster: Cluster, table: str, number: int, shard: int, replica: int) -> bool:
    try:
        cluster.query(f"INSERT INTO {table} VALUES ({number})", shard, replica)
    except QueryError:
        return False
    return True


def synced(cluster: Cluster, table: str, shard: int, replica: int) -> list[int]:
    cluster.query(f"SYSTEM SYNC REPLICA {table}", shard, replica)
    return numbers(cluster, table, shard, replica)


def numbers(cluster: Cluster, table: str, shard: int, replica: int) -> list[int]:
    answer = cluster.query(f"SELECT n FROM {table} ORDER BY n", shard, replica)
    return [int(line) for line in answer.splitlines()]


def test_what_one_replica_is_given_the_others_of_its_shard_have(cluster_2x2: Cluster) -> None:
    table = replicated_table(cluster_2x2)
    assert accepts(cluster_2x2, table, 1, shard=1, replica=1)
    assert accepts(cluster_2x2, table, 2, shard=2, replica=2)
    assert synced(cluster_2x2, table, shard=1, replica=2) == [1]
    assert synced(cluster_2x2, table, shard=2, replica=1) == [2]


def test_a_killed_node_comes_back_and_catches_up(cluster_1x3: Cluster) -> None:
    table = replicated_table(cluster_1x3)
    with cluster_1x3.without(1, 3):
        with pytest.raises(httpx2.TransportError):
            numbers(cluster_1x3, table, 1, 3)
        assert accepts(cluster_1x3, table, 7, shard=1, replica=1)
    until(lambda: numbers(cluster_1x3, table, 1, 3) == [7], "what the others have")


def test_without_zookeeper_reads_go_on_and_inserts_are_refused(cluster_1x3: Cluster) -> None:
    table = replicated_table(cluster_1x3)
    assert accepts(cluster_1x3, table, 1, shard=1, replica=1)
    with cluster_1x3.without_zookeeper():
        assert not accepts(cluster_1x3, table, 2, shard=1, replica=1)
        assert numbers(cluster_1x3, table, 1, 1) == [1]
    until(lambda: accepts(cluster_1x3, table, 3, shard=1, replica=1), "a writable table")
    assert numbers(cluster_1x3, table, 1, 1) == [1, 3]


def test_a_paused_node_neither_answers_nor_hangs_up(cluster_1x3: Cluster) -> None:
    address = f"http://127.0.0.1:{cluster_1x3.port(1, 2)}/?query=SELECT+1"
    with cluster_1x3.paused(1, 2), pytest.raises(httpx2.ReadTimeout):
        httpx2.get(address, timeout=0.2, trust_env=False)
    assert httpx2.get(address, timeout=PATIENCE, trust_env=False).text == "1\n"


def test_one_node_alone_needs_no_zookeeper(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        assert cluster.everywhere("SELECT 'alone'") == ["alone\n"]
        assert cluster.url.endswith(f"@127.0.0.1:{cluster.port(1, 1)}/tunelog?replicas=1")
