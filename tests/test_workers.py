"""`tunelog serve --workers N`: several processes that are one service, and what becomes of them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.commands import OK, run
from tests.exchanges import connected, head, received, refused, under_way
from tests.recording import until
from tests.serving import PATIENCE, RecordedJob, Row, Server, create_job
from tests.tailing import tailing
from tests.test_serve import first_lines, listens, refusal, running, serve

ROW: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}
WRONG_KEY = "this API key does not exist or was revoked"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Server]:
    """A service of two workers."""
    with Server(tmp_path, "--workers", "2") as service:
        yield service


def workers(service: Server) -> list[int]:
    """The process ids of its workers."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def state(pid: int) -> str:
    """R, S, T and so on, as proc_pid_stat(5) has it; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


@contextmanager
def only(service: Server, worker: int) -> Iterator[None]:
    """Whoever connects meanwhile is this worker's: the others are stopped."""
    others = [pid for pid in workers(service) if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: {state(pid) for pid in others} == {"T"}, "the others to stop")
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def each(service: Server) -> Iterator[list[httpx2.Client]]:
    """A client of each worker, on a connection that is kept."""
    with ExitStack() as open_ones:
        clients = [open_ones.enter_context(service.client()) for _ in workers(service)]
        for client, worker in zip(clients, workers(service), strict=True):
            with only(service, worker):
                assert client.get("/healthz").is_success
        yield clients


@contextmanager
def taken_by(service: Server, worker: int) -> Iterator[socket.socket]:
    """A bare connection to this worker."""
    with ExitStack() as open_ones:
        with only(service, worker):
            connection = open_ones.enter_context(connected(service))
            connection.sendall(head(service, "GET", "/healthz"))
            assert received(connection).is_success
        yield connection


def at(job: RecordedJob) -> str:
    return f"/v1/fine-tunes/{job.id}"


# ---------------------------------------------------------------- one service


def test_what_one_worker_stores_every_worker_answers(service: Server) -> None:
    with each(service) as (one, other):
        job = create_job(one)
        for step, api in enumerate((one, other, one, other)):
            row = {**ROW, "timestamp": step, "train/global_step": step}
            body = {"metrics": [row], "first_seq": step}
            assert api.post(f"{at(job)}/metrics", json=body).json()["stored"] == 1
            for reader in (one, other):  # who has answered it before, too
                assert reader.get(f"{at(job)}/metrics").json()["metrics"][-1] == row
                again = reader.post(f"{at(job)}/metrics", json=body).json()
                assert (again["stored"], again["duplicates"]) == (0, 1)


def test_workers_that_write_at_once_wait_for_one_another(service: Server) -> None:
    steps = range(60)
    with each(service) as clients:
        job = create_job(clients[0])

        def log(step: int) -> int:
            row = {**ROW, "timestamp": step, "train/global_step": step}
            answer = clients[step % 2].post(f"{at(job)}/metrics", json={"metrics": [row]})
            return answer.status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(log, steps)) == {200}
        rows = clients[0].get(f"{at(job)}/metrics").json()["metrics"]
        assert [row["train/global_step"] for row in rows] == list(steps)


def test_a_tail_at_one_worker_tells_what_another_stored(service: Server) -> None:
    with each(service) as (one, other):
        job = create_job(one)
        with tailing(one, job.id) as tail:
            tail.until_now()
            other.post(f"{at(job)}/metrics", json={"metrics": [ROW]})
            assert tail.next().what == ("snapshot", ROW)
            assert tail.next().what == ("status", {"status": "running"})


def test_what_is_revoked_is_refused_by_every_worker_at_once(service: Server) -> None:
    with each(service) as (one, other):
        job = create_job(one)
        share = one.post("/v1/shares", json={"jobs": [job.id], "expires_in": 60}).json()
        holder = {"Authorization": f"Bearer {share['token']}"}
        for api in (one, other):
            assert api.get(f"{at(job)}/metrics", headers=holder).is_success
            assert api.get(f"{at(job)}/metrics").is_success  # and would be remembered
        assert one.delete(f"/v1/shares/{share['id']}").is_success
        for api in (other, one):
            assert api.get(f"{at(job)}/metrics", headers=holder).status_code == 401
        key = one.get("/v1/whoami").json()["api_key_id"]
        assert run(service, "keys", "revoke", key, "--store", service.store).returncode == OK
        for api in (one, other):
            refused(api.get(f"{at(job)}/metrics"), 401, WRONG_KEY)


def test_the_link_signs_in_once_at_whichever_worker(service: Server) -> None:
    with each(service) as (one, other):
        places = [
            api.get(service.link, follow_redirects=False).headers["location"]
            for api in (other, one, other)
        ]
        assert places == ["/", "/?sign-in=expired", "/?sign-in=expired"]
        session = {"Cookie": f"tunelog_session={other.cookies['tunelog_session']}"}
        page = httpx2.get(f"{service.url}/v1/whoami", headers=session)
        assert page.json()["project_name"] == "default"


def test_the_numbers_are_those_of_all_workers_also_of_one_that_died(service: Server) -> None:
    def lookups(api: httpx2.Client) -> set[str]:
        return {line for line in api.get("/metrics").text.splitlines() if '"whoami"' in line}

    with each(service) as (one, other):
        for api in (one, one, other):
            api.get("/v1/whoami")
        assert 'tunelog_requests_total{operation="whoami",status="200"} 3.0' in lookups(one)
        assert lookups(one) == lookups(other)
        assert 'tunelog_request_seconds_count{operation="whoami"} 3.0' in lookups(one)
        told = lookups(other)
    first, second = workers(service)
    with taken_by(service, first) as dying, taken_by(service, second) as waiting:
        for connection in (dying, waiting):
            connection.sendall(head(service, "POST", "/v1/fine-tunes", "Content-Length: 9"))
        until(lambda: under_way(service) == 3, "both requests to be under way")
        os.kill(first, signal.SIGKILL)
        until(lambda: under_way(service) == 2, "the dead worker's request to be forgotten")
    with service.client() as api:
        assert lookups(api) == told


# ---------------------------------------------------------------- deaths


def test_a_worker_that_is_killed_is_replaced_and_costs_nothing_acknowledged(
    service: Server,
) -> None:
    before = workers(service)
    with each(service) as (one, other):
        job = create_job(one)
        assert one.post(f"{at(job)}/metrics", json={"metrics": [ROW]}).is_success
        os.kill(before[0], signal.SIGKILL)
        with pytest.raises(httpx2.TransportError):
            one.get(f"{at(job)}/metrics")
        assert other.get(f"{at(job)}/metrics").json() == {"metrics": [ROW]}
    words = f"worker 0 (process {before[0]}) was killed by signal 9; it begins again in 0.1 s"
    service.wait_for_log(lambda lines: any(words in line for line in lines))
    until(lambda: len(workers(service)) == 2, "another worker")
    assert before[1] in workers(service)
    (new,) = set(workers(service)) - set(before)
    with only(service, new), service.client() as api:
        assert api.get(f"{at(job)}/metrics").json() == {"metrics": [ROW]}
    assert service.stop() == OK


def test_workers_end_when_their_parent_is_killed(service: Server) -> None:
    with service.client() as api:
        job = create_job(api)
    left = workers(service)
    body = json.dumps({"metrics": [ROW]}).encode()
    with connected(service) as busy:
        length = f"Content-Length: {len(body)}"
        busy.sendall(head(service, "POST", f"{at(job)}/metrics", length) + body[:10])
        until(lambda: under_way(service) == 2, "the request to be under way")
        os.kill(service.pid, signal.SIGKILL)
        until(lambda: not listens(service), "the workers to listen no more")
        busy.sendall(body[10:])
        assert received(busy, "POST").json()["stored"] == 1
    until(lambda: {state(pid) for pid in left} <= {"", "Z"}, "the workers to end")
    service.kill()
    service.start()
    with service.client() as api:
        assert api.get(f"{at(job)}/metrics").json() == {"metrics": [ROW]}


def test_a_service_none_of_whose_workers_can_start_ends(service: Server, tmp_path: Path) -> None:
    with each(service):  # so both have started once
        pass
    for path in tmp_path.glob("tunelog.db*"):
        path.rename(tmp_path / f"away-{path.name}")
    (tmp_path / "tunelog.db").write_text("nothing that a worker could open")
    for worker in workers(service):
        os.kill(worker, signal.SIGKILL)
    assert service.wait() == 1
    words = "tunelog.db: not a SQLite database, so not a store of tunelog's"
    assert any(line.endswith(words) for line in service.log)


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_the_requests_of_every_worker(service: Server, by: signal.Signals) -> None:
    with service.client() as api:
        job = create_job(api)
    first, second = workers(service)
    body = json.dumps({"metrics": [ROW]}).encode()
    with taken_by(service, first) as one, taken_by(service, second) as other:
        for connection in (one, other):
            length = f"Content-Length: {len(body)}"
            connection.sendall(head(service, "POST", f"{at(job)}/metrics", length) + body[:10])
        until(lambda: under_way(service) == 3, "the requests to be under way")
        for pid in (service.pid, first, second) if by == signal.SIGINT else (service.pid,):
            os.kill(pid, by)  # a terminal sends its Ctrl-C to all of them
        until(lambda: not listens(service), "the service to listen no more")
        for connection in (one, other):
            connection.sendall(body[10:])
            assert received(connection, "POST").json()["stored"] == 1
    assert service.wait() == OK
    assert not [line for line in service.log if "worker" in line or "Traceback" in line]


def test_a_stop_of_workers_right_after_the_first_line_is_a_stop(tmp_path: Path) -> None:
    with running(
        "--store", f"sqlite:///{tmp_path}/store.db", "--port", "0", "--workers", "2"
    ) as process:
        first_lines(process, 1)
        process.terminate()
        assert process.wait(PATIENCE) == OK
        assert process.stderr is not None
        assert process.stderr.read() == ""


# ---------------------------------------------------------------- refusals


def test_a_store_in_memory_has_one_worker() -> None:
    said = refusal(serve("memory:", "--workers", "2"))
    assert said == "memory: is the memory of one process; --workers needs a store that all can open"


def test_there_is_one_worker_at_least(tmp_path: Path) -> None:
    said = refusal(serve(f"sqlite:///{tmp_path}/store.db", "--workers", "0"), 2)
    assert re.search("Invalid value for '--workers'", said)
