"""`tunelog doctor` sees what is wrong with a cluster, and where."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence

import pytest

from tests.clickhouse.asking import url_of
from tests.clickhouse.cluster import Cluster
from tests.clickhouse.modern import Modern
from tests.clickhouse.stores import new_store
from tests.recording import until
from tests.serving import COMMAND, PATIENCE
from tunelog.backends.clickhouse.doctor import Examined, examine, unfit
from tunelog.ids import new_token

WELL = {
    "version": "18.16.1",
    "clock": "+0 s",
    "settings": "fit",
    "disk": "not told",
    "session": "well",
    "tables": "layout 1",
    "replicas": "2 of 2",
    "lag": "0 s",
}


def seen(server: Examined) -> dict[str, str]:
    return {each.look: each.found for each in server.findings}


def wrong(server: Examined) -> dict[str, str]:
    return {each.look: each.wrong for each in server.findings if each.wrong}


def database_of(store: str) -> str:
    return store.rpartition("/")[2].partition("?")[0]


def listing(cluster: Cluster, store: str, nodes: Sequence[tuple[int, int]]) -> str:
    """The URL of a store with these nodes, two to a shard."""
    ports = [cluster.port(*node) for node in nodes]
    return url_of(ports, "default", "", database_of(store), replicas=2)


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "doctor", *arguments],
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def store(cluster_2x2: Cluster) -> str:
    return new_store(cluster_2x2)


# ---------------------------------------------------------------- what it sees


def test_a_cluster_that_is_well(cluster_2x2: Cluster, store: str) -> None:
    examined = list(examine(store))
    assert [(server.shard, seen(server), wrong(server)) for server in examined] == [
        (1, WELL, {}),
        (1, WELL, {}),
        (2, WELL, {}),
        (2, WELL, {}),
    ]
    assert [server.server for server in examined] == [
        f"127.0.0.1:{cluster_2x2.port(*node)}" for node in cluster_2x2.nodes
    ]


def test_one_server_of_our_days(modern: Modern) -> None:
    [server] = examine(new_store(modern))
    assert wrong(server) == {}
    found = seen(server)
    assert re.fullmatch(r"[0-9,]+ GB free", found["disk"])
    assert (found["session"], found["replicas"]) == ("none wanted", "1")


def test_a_server_that_is_away_and_what_its_replica_sees(cluster_2x2: Cluster, store: str) -> None:
    with cluster_2x2.without(1, 2):
        until(lambda: "replicas" in wrong(next(examine(store))), "the end of its session")
        first, away, *others = examine(store)
        assert wrong(first)["replicas"].endswith("it sees 1 of 2 replicas; start the others")
        assert list(wrong(away)) == ["version"]
        assert "refused" in wrong(away)["version"]
        assert [wrong(server) for server in others] == [{}, {}]


def test_a_server_without_a_session(cluster_1x3: Cluster) -> None:
    store = new_store(cluster_1x3)
    with cluster_1x3.without_zookeeper():
        until(lambda: all("session" in wrong(server) for server in examine(store)), "its loss")
        assert {seen(server)["session"] for server in examine(store)} <= {"lost", "read-only"}
    until(lambda: not any(wrong(server) for server in examine(store)), "new sessions")


def test_a_store_that_was_never_set_up(cluster_2x2: Cluster) -> None:
    examined = examine(cluster_2x2.url_of(database=f"tunelog_{new_token()}"))
    assert all("`tunelog migrate" in wrong(server)["tables"] for server in examined)


def test_tables_of_another_making(cluster_2x2: Cluster, store: str) -> None:
    database = database_of(store)
    cluster_2x2.query(f"DROP TABLE {database}.snapshot", 2, 1)
    cluster_2x2.query(f"CREATE TABLE {database}.snapshot (n UInt8) ENGINE = Memory", 2, 1)
    assert ["tables" in wrong(server) for server in examine(store)] == [False, False, True, False]


def test_shards_that_are_listed_in_another_order(cluster_2x2: Cluster, store: str) -> None:
    for server in examine(listing(cluster_2x2, store, [(2, 1), (2, 2), (1, 1), (1, 2)])):
        assert "list the same shards in the same order" in wrong(server)["tables"]


def test_a_url_that_leaves_a_replica_out(cluster_1x3: Cluster) -> None:
    store = new_store(cluster_1x3)
    until(lambda: not any(wrong(server) for server in examine(store)), "the third replica")
    for server in examine(listing(cluster_1x3, store, [(1, 1), (1, 3)])):
        assert seen(server)["replicas"] == "3"
        assert "keeps its tables with 3 replicas, and the URL lists 2" in wrong(server)["replicas"]


def test_shards_of_two_stores(cluster_2x2: Cluster, store: str) -> None:
    """The second shard says that it is one of another store, as if it had been set up in that."""
    database = database_of(store)
    meta = '{"layout":1,"cluster":"another","shard":2,"shards":2}'
    sql = f"INSERT INTO {database}.record VALUES (11, 0, 'shard', {2**62}, '{meta}')"
    cluster_2x2.query(sql, 2, 1)
    cluster_2x2.query(f"SYSTEM SYNC REPLICA {database}.record", 2, 2)
    wrongs = [wrong(server).get("tables", "") for server in examine(store)]
    another = "it belongs to another cluster than the first server"
    assert [each.partition(": ")[2] for each in wrongs] == ["", "", another, another]


def test_settings_that_would_break_a_promise() -> None:
    fit = {
        "readonly": "0",
        "max_insert_block_size": "1048449",
        "result_overflow_mode": "throw",
        "http_send_timeout": "30",
        "http_receive_timeout": "30",
    }
    assert unfit(fit, 2) == []
    assert unfit({**fit, "readonly": "2"}, 1) == ["readonly = 2, so nothing can be written"]
    assert "stored in part" in unfit({**fit, "max_insert_block_size": "65536"}, 2)[0]
    [waits] = unfit({**fit, "http_receive_timeout": "1800"}, 2)
    assert waits.startswith("http_send_timeout = 30 and http_receive_timeout = 1800, so a replica")
    assert unfit({**fit, "http_receive_timeout": "1800"}, 1) == []  # it fetches of nobody
    assert "lack its end" in unfit({**fit, "result_overflow_mode": "break"}, 2)[0]


# ---------------------------------------------------------------- the command


def test_the_command_prints_a_line_a_server(store: str) -> None:
    done = doctor("--store", store)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head[:2] == ["SHARD", "SERVER"]
    assert [line[0] for line in lines] == ["1", "1", "2", "2"]


def test_the_command_says_what_is_wrong_and_fails(cluster_2x2: Cluster) -> None:
    done = doctor("--store", cluster_2x2.url_of(password="wrong"), "--json")
    assert done.returncode == 1
    assert done.stderr.count("Wrong password for user default") == len(cluster_2x2.nodes)
    findings = [server["findings"] for server in json.loads(done.stdout)]
    assert [[each["look"] for each in found] for found in findings] == [["version"]] * 4


def test_other_stores_have_no_servers() -> None:
    done = doctor("--store", "memory:")
    assert done.returncode == 2
    assert "no servers to look at" in done.stderr
