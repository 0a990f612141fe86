"""Two service processes on one cluster: any of them answers anything, as one service."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.clickhouse.asking import url_of
from tests.clickhouse.cluster import Cluster
from tests.clickhouse.modern import Modern
from tests.clickhouse.stores import new_store
from tests.clients.published import Published
from tests.recording import environment, training, until
from tests.serving import COMMAND, PATIENCE, Server, create_job, record_job
from tests.tailing import tailing
from tunelog.backends.clickhouse import ClickHouseBackend, records, schema
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.ids import new_token

Services = tuple[Server, Server]

TRAINING = """
import tunelog
with tunelog.init("m", job_id="ft-spooled") as job:
    for step in range(2_000):
        if step == 1_000:
            print("half", flush=True)
            input()
        job.log({"loss": 1 / (step + 3)}, step)
    print("all", flush=True)
"""


@pytest.fixture(scope="module")
def services(cluster_2x2: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Both; the first one made the key."""
    store = new_store(cluster_2x2)
    with (
        Server(tmp_path_factory.mktemp("one"), store=store) as one,
        Server(tmp_path_factory.mktemp("other"), store=store, api_key=one.api_key) as other,
    ):
        yield one, other
        for server in (one, other):
            assert server.stop() == 0
            assert "Traceback" not in "\n".join(server.log)


@pytest.fixture
def one(services: Services) -> Iterator[httpx2.Client]:
    with services[0].client() as client:
        yield client


@pytest.fixture
def other(services: Services) -> Iterator[httpx2.Client]:
    with services[1].client() as client:
        yield client


def test_the_start_says_what_is_promised_and_no_password(services: Services) -> None:
    assert "default:***@" in services[0].printed[0]
    assert services[0].printed[1] == "What is acknowledged is on 2 replicas."


def test_the_start_says_so_if_there_is_no_second_replica(modern: Modern, tmp_path: Path) -> None:
    with Server(tmp_path, store=new_store(modern)) as alone:
        assert "on one machine, and dies with it" in alone.printed[1]


def test_what_one_was_told_the_other_answers_at_once(
    one: httpx2.Client, other: httpx2.Client
) -> None:
    job = record_job(one, status="completed", epochs_completed=2)
    path = f"/v1/fine-tunes/{job.id}"
    for at in ("", "/metrics", "/metrics?resolution=5", "/metrics/summary", "/events"):
        answers = [each.get(path + at) for each in (one, other)]
        assert answers[0].status_code == 200
        assert answers[0].json() == answers[1].json()
    assert other.get(f"{path}/metrics").json()["metrics"] == job.shown
    assert job.id in [each["id"] for each in other.get("/v1/fine-tunes").json()["data"]]


def test_togethers_sdk_reads_from_one_what_the_other_was_told(
    services: Services, tmp_path: Path, one: httpx2.Client
) -> None:
    job = record_job(one)
    clients = Published(services[1], tmp_path)
    (outcome,) = clients.python(
        "together-3", ("fine_tuning.list_metrics", job.id), _strict_response_validation=True
    )
    clients.close()
    assert [row["train/global_step"] for row in outcome["value"]["metrics"] if "train/loss" in row]


def test_a_batch_that_comes_again_by_another_way_is_stored_once(
    one: httpx2.Client, other: httpx2.Client
) -> None:
    job = create_job(one)
    path, first = f"/v1/fine-tunes/{job.id}/metrics", 0
    for turn in range(4):
        rows = [{"train/global_step": step, "train/loss": 0.5} for step in range(first, first + 3)]
        body = {"metrics": rows, "first_seq": first}
        there, again = (
            each.post(path, json=body).json() for each in (one, other)[:: 1 - turn % 2 * 2]
        )
        assert (there["stored"], again["stored"], again["duplicates"]) == (3, 0, 3)
        first += 3
    assert len(one.get(path).json()["metrics"]) == 12


def test_a_tail_goes_on_at_the_other_without_gap_or_repeat(
    one: httpx2.Client, other: httpx2.Client
) -> None:
    job = create_job(one)
    path = f"/v1/fine-tunes/{job.id}/metrics"

    def log(client: httpx2.Client, step: int) -> None:
        rows = [{"train/global_step": step, "train/loss": step / 2}]
        assert client.post(path, json={"metrics": rows, "first_seq": step}).status_code == 200

    told: list[int] = []
    last: str | None = None
    for turn, (listened, written) in enumerate([(one, other), (other, one)] * 2):
        with tailing(listened, job.id, last) as tail:
            for step in (2 * turn, 2 * turn + 1):
                log(written, step)
            for event in tail:
                last = event.id or last
                if event.event == "snapshot":
                    told.append(event.data["train/global_step"])
                if told and told[-1] == 2 * turn + 1:
                    break
    assert told == list(range(8))


def test_a_cancel_reaches_the_trainer_by_the_other(
    one: httpx2.Client, other: httpx2.Client
) -> None:
    job = create_job(one)
    path = f"/v1/fine-tunes/{job.id}"
    rows = {"metrics": [{"train/global_step": 1, "train/loss": 1}], "first_seq": 0}
    assert one.post(f"{path}/metrics", json=rows).json()["status"] == "running"
    assert other.post(f"{path}/cancel").status_code == 200
    rows["first_seq"] = 1
    assert one.post(f"{path}/metrics", json=rows).json()["status"] == "cancel_requested"


def test_a_delete_takes_effect_everywhere_at_once(one: httpx2.Client, other: httpx2.Client) -> None:
    job = record_job(one)
    path = f"/v1/fine-tunes/{job.id}"
    assert other.delete(path, params={"force": "true"}).status_code == 200
    rows = {"metrics": [{"train/global_step": 1, "train/loss": 1}]}
    assert one.get(path).status_code == 404
    assert one.get(f"{path}/metrics").status_code == 404
    assert one.post(f"{path}/metrics", json=rows).status_code == 404


def test_a_key_that_was_revoked_is_refused_everywhere(services: Services) -> None:
    store = services[0].store
    keys = [*COMMAND, "keys", "create", "--store", store]
    made = subprocess.run(keys, capture_output=True, text=True, check=True)
    key_id = made.stderr.split()[1]
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}

    def statuses() -> set[int]:
        return {httpx2.get(f"{s.url}/v1/fine-tunes", headers=headers).status_code for s in services}

    assert statuses() == {200}
    subprocess.run([*COMMAND, "keys", "revoke", key_id, "--store", store], check=True)
    until(lambda: statuses() == {401}, "both refuse the key")


def test_without_zookeeper_reads_go_on_and_writes_are_to_be_tried_again(
    cluster_2x2: Cluster, services: Services, one: httpx2.Client, other: httpx2.Client
) -> None:
    job = record_job(one)
    path = f"/v1/fine-tunes/{job.id}/metrics"
    rows = {"metrics": [{"train/global_step": 41, "train/loss": 1}], "first_seq": 0}
    with cluster_2x2.without_zookeeper():
        refused = one.post(path, json=rows)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert other.get(path).json()["metrics"] == job.shown
    until(lambda: one.post(path, json=rows).status_code == 200, "writing goes on")
    assert len(other.get(path).json()["metrics"]) == len(job.shown) + 1


def test_a_recorder_spools_while_zookeeper_is_away(
    cluster_2x2: Cluster, services: Services, other: httpx2.Client, tmp_path: Path
) -> None:
    """Its training does not wait, and all that it logged is there in the end."""
    sent = {"TUNELOG_URL": services[0].url, "TUNELOG_API_KEY": services[0].api_key}
    with training(TRAINING, environment(tmp_path, TUNELOG_OFFLINE="0", **sent)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        with cluster_2x2.without_zookeeper():
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert process.stdout.readline() == "all\n"
        assert process.wait(PATIENCE) == 0

    def steps() -> list[int]:
        answer = other.get("/v1/fine-tunes/ft-spooled/metrics")
        rows = answer.json()["metrics"] if answer.is_success else []
        return [row["train/global_step"] for row in rows]

    until(lambda: steps() == list(range(2_000)), "everything is there")


def test_several_processes_may_set_a_store_up_at_once(cluster_2x2: Cluster) -> None:
    store = cluster_2x2.url_of(database=f"tunelog_{new_token()}")
    command = [*COMMAND, "migrate", "--store", store]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=PATIENCE) for process in running]
    assert [process.returncode for process in running] == [0] * 4, ended
    assert all("layout 1; shards: 2, of 2 replicas each" in said for said, _ in ended)
    ClickHouseBackend(store).close()


# ---------------------------------------------------------------- what cannot be served


def refusal(store: str) -> str:
    """The one line with which `serve` refuses a store."""
    ended = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--store", store],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


def database_of(store: str) -> str:
    return store.rpartition("/")[2].partition("?")[0]


def test_a_wrong_password_is_said_and_not_repeated(cluster_2x2: Cluster) -> None:
    line = refusal(cluster_2x2.url_of(user="default", password="not-it"))
    assert "password" in line
    assert "not-it" not in line


def test_a_store_that_was_never_set_up_is_said_with_what_to_do(cluster_2x2: Cluster) -> None:
    assert "tunelog migrate --store URL" in refusal(cluster_2x2.url_of(database="nowhere"))


def test_nobody_there_is_said(cluster_2x2: Cluster) -> None:
    assert "127.0.0.1:9" in refusal("clickhouse://127.0.0.1:9/tunelog")


def test_other_shards_than_the_data_was_written_with_are_refused(cluster_2x2: Cluster) -> None:
    store = new_store(cluster_2x2)
    ports = [cluster_2x2.port(*node) for node in ((2, 1), (2, 2), (1, 1), (1, 2))]
    swapped = url_of(ports, "default", "", database_of(store), replicas=2)
    assert "hold shard 2 of 2" in refusal(swapped)
    fewer = url_of(ports[2:], "default", "", database_of(store), replicas=2)
    assert "tunelog move" in refusal(fewer)


def test_tables_of_another_schema_are_refused(cluster_2x2: Cluster) -> None:
    store = new_store(cluster_2x2)
    database = database_of(store)
    cluster_2x2.query(f"ALTER TABLE {database}.snapshot ADD COLUMN extra UInt8", shard=2, replica=1)
    assert "another table snapshot" in refusal(store)


def test_a_store_of_a_newer_layout_is_refused(cluster_2x2: Cluster) -> None:
    store = new_store(cluster_2x2)
    backend = ClickHouseBackend(store)
    newer = schema.Meta(schema.LAYOUT + 1, "of another day", 1, 2)
    record = Record(Kind.META, 0, "shard", 2**60, json.dumps(_fields(newer)).encode())
    backend.shards[0].insert(
        records.INSERT,
        records.encode([record]),
        f"SELECT count() FROM record WHERE kind = {Kind.META:d} AND version = {2**60}",
    )
    backend.close()
    assert "newer than" in refusal(store)


def _fields(meta: schema.Meta) -> dict[str, object]:
    return {name: getattr(meta, name) for name in meta.__struct_fields__}


def test_clocks_that_are_apart_are_refused(
    cluster_2x2: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's clock cannot be set here, so ours tells another time."""
    store = new_store(cluster_2x2)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 60)
    with pytest.raises(Exception, match="the clock of ClickHouse"):
        ClickHouseBackend(store)


def test_a_server_that_is_too_old_is_refused(
    cluster_2x2: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none older, so more is asked of it."""
    store = new_store(cluster_2x2)
    monkeypatch.setattr(schema, "OLDEST", (99, 1))
    with pytest.raises(Exception, match=r"is 18.16; 99.1 or newer is wanted"):
        ClickHouseBackend(store)
