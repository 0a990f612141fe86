"""`tunelog serve`: how it starts, what it says of itself, and how it stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.commands import OK, REFUSED, WRONG_USAGE
from tests.exchanges import connected, head, received, refused, under_way
from tests.recording import until
from tests.serving import COMMAND, PATIENCE, RecordedJob, Row, Server, create_job
from tunelog import __version__

ROW: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}


def serve(store: str, *options: str, port: int = 0) -> subprocess.CompletedProcess[str]:
    """`tunelog serve` that is to end by itself."""
    return subprocess.run(
        [*COMMAND, "serve", "--store", store, "--port", str(port), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str], code: int = REFUSED) -> str:
    """The one line that a refused command says."""
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("tunelog: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("tunelog: ").removesuffix("\n")


def at(job: RecordedJob) -> str:
    return f"/v1/fine-tunes/{job.id}"


# ---------------------------------------------------------------- starting


def test_the_first_start_says_what_to_paste_and_later_ones_where_the_key_is(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        first = f"tunelog {__version__} serves {server.store} at {server.url}"
        signed_in = "The page, signed in (this link works once, for 10 minutes):"
        link = server.link
        assert re.fullmatch(re.escape(server.url) + r"/sign-in\?code=[\w-]{43}", link)
        assert server.printed == [
            first,
            f"A first key was made and kept in {tmp_path}/tunelog.db.key. Paste these lines:",
            "",
            f"export TOGETHER_BASE_URL={server.url}",
            f"export TOGETHER_API_KEY={server.api_key}",
            f"export TUNELOG_URL={server.url}",
            f"export TUNELOG_API_KEY={server.api_key}",
            "",
            signed_in,
            link,
        ]
        assert server.stop() == OK
        server.start()
        assert server.link != link
        later = f"The key of project default is in {tmp_path}/tunelog.db.key"
        assert server.printed == [first, later, "", signed_in, server.link]


@contextlib.contextmanager
def running(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`tunelog serve` as a process, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().removesuffix("\n") for _ in range(count)]


def test_a_store_in_memory_has_its_key_on_the_screen_alone() -> None:
    with running("--store", "memory:", "--port", "0") as process:
        lines = first_lines(process, 6)
        exports = dict(line.removeprefix("export ").split("=") for line in lines[2:])
        headers = {"Authorization": f"Bearer {exports['TUNELOG_API_KEY']}"}
        answer = httpx2.get(
            f"{exports['TUNELOG_URL']}/v1/fine-tunes", headers=headers, verify=False
        )
        assert answer.json() == {"data": []}


def test_without_flags_the_store_is_in_the_users_data_folder(tmp_path: Path) -> None:
    """And every flag is a variable."""
    data = tmp_path / "data"
    variables = {"XDG_DATA_HOME": str(data), "TUNELOG_PORT": "0", "TUNELOG_MAX_BODY_BYTES": "70"}
    with running(**variables) as process:
        lines = first_lines(process, 7)
        assert (data / "tunelog" / "tunelog.db").is_file()
        exports = dict(line.removeprefix("export ").split("=") for line in lines[3:])
        headers = {"Authorization": f"Bearer {exports['TUNELOG_API_KEY']}"}
        answer = httpx2.post(
            f"{exports['TUNELOG_URL']}/v1/fine-tunes",
            headers=headers,
            content=b" " * 71,
            verify=False,
        )
        refused(answer, 413, "the body is larger than the 70 bytes allowed")


def test_a_second_server_on_a_store_is_refused_in_one_line(
    fresh_server: Server, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "tunelog.db")
    for path in (tmp_path / "tunelog.db", link):
        said = refusal(serve(f"sqlite:///{path}"))
        assert said == f"{path}: another `tunelog serve` or `tunelog move` has this store open"
    with fresh_server.client() as api:
        assert api.get("/v1/fine-tunes").json() == {"data": []}
    fresh_server.kill()
    fresh_server.start()  # a killed server holds nothing


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(serve(f"sqlite:///{tmp_path}/store.db", port=port))
    assert said == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--port", "65536"), REFUSED, "port 65536: 0 to 65535 is wanted"),
        (("--port", "http"), WRONG_USAGE, "Invalid value for '--port'"),
        (("--host", "nowhere.invalid"), REFUSED, "cannot listen on nowhere.invalid:0: "),
        (("--silence-seconds", "0"), WRONG_USAGE, "Invalid value for '--silence-seconds'"),
        (("--max-body-bytes", "-1"), WRONG_USAGE, "Invalid value for '--max-body-bytes'"),
        (("--colour",), WRONG_USAGE, "No such option: --colour"),
    ],
)
def test_a_wrong_flag_is_one_line_and_an_exit_code(
    options: tuple[str, ...], code: int, words: str
) -> None:
    assert words in refusal(serve("memory:", *options), code)


# ---------------------------------------------------------------- what it says of itself


def test_the_log_is_one_line_of_json_a_request_and_tells_no_secret(fresh_server: Server) -> None:
    key = fresh_server.api_key
    with fresh_server.client() as api:
        me = api.get("/v1/whoami").json()["api_key_id"]
        api.get("/v1/fine-tunes/ft-a%2Fb/metrics?keys=secret&token=hunter2", headers={"X-A": "b"})
        api.post("/v1/fine-tunes?x=hunter2", content=b"hunter2")
    httpx2.put(f"{fresh_server.url}/nowhere?hunter2", content=b"hunter2", verify=False)
    httpx2.get(f"{fresh_server.url}/healthz", verify=False)
    lines = fresh_server.wait_for_log(lambda lines: any("/healthz" in line for line in lines))
    entries = [json.loads(line) for line in lines]
    assert [list(entry) for entry in entries] == [
        ["time", "method", "path", "operation", "status", "ms", "bytes", "key", "client"]
    ] * len(entries)
    names = ("method", "path", "operation", "status", "key", "client")
    assert [tuple(entry[name] for name in names) for entry in entries[1:]] == [
        ("GET", "/v1/whoami", "whoami", 200, me, "127.0.0.1"),
        ("GET", "/v1/fine-tunes/ft-a%2Fb/metrics", "get_metrics", 404, me, "127.0.0.1"),
        ("POST", "/v1/fine-tunes", "create_job", 400, me, "127.0.0.1"),
        ("PUT", "/nowhere", "unknown", 404, None, "127.0.0.1"),
        ("GET", "/healthz", "get_health", 200, None, "127.0.0.1"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*\.\d{6}Z", entry["time"]) for entry in entries)
    assert not [word for word in (key, "hunter2", "secret") if word in "\n".join(lines)]


def test_the_health_and_the_numbers_need_no_key_and_tell_no_name(fresh_server: Server) -> None:
    with fresh_server.client() as api:
        job = create_job(api, name="my-private-name", suffix="my-suffix")
        api.post(f"{at(job)}/metrics", json={"metrics": [{**ROW, "train/private": 1}]})
        api.get(f"{at(job)}/metrics")
        api.get("/v1/private/route")
        me = api.get("/v1/whoami").json()
    with httpx2.Client(base_url=fresh_server.url, verify=False) as stranger:
        assert stranger.get("/healthz").json() == {"status": "ok"}
        assert stranger.get("/readyz").json() == {"status": "ready"}
        numbers = stranger.get("/metrics")
    assert numbers.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'tunelog_requests_total{operation="get_metrics",status="200"} 1.0',
        'tunelog_requests_total{operation="append_metrics",status="200"} 1.0',
        'tunelog_requests_total{operation="unknown",status="404"} 1.0',
        'tunelog_request_seconds_count{operation="get_metrics"} 1.0',
        "tunelog_requests_under_way 1.0",
        f'tunelog_info{{version="{__version__}"}} 1.0',
    ):
        assert line in numbers.text.splitlines()
    names = [job.id, "private", "suffix", "default", "Qwen", me["project_id"], me["api_key_id"]]
    assert not [name for name in names if name in numbers.text]
    assert fresh_server.api_key not in numbers.text


def test_an_answer_that_a_delete_ends_is_cut_off_and_never_quietly_short(
    fresh_server: Server, tmp_path: Path
) -> None:
    def left() -> int:
        with contextlib.closing(sqlite3.connect(tmp_path / "tunelog.db")) as connection:
            (count,) = connection.execute("SELECT count(*) FROM garbage").fetchone()
            return int(count)

    wide = {f"train/metric-{i}": i / 7 for i in range(200)}
    with fresh_server.client() as api, connected(fresh_server) as slow:
        job = create_job(api)
        for _ in range(4):
            assert api.post(f"{at(job)}/metrics", json={"metrics": [ROW | wide] * 1000}).is_success
        slow.sendall(head(fresh_server, "GET", f"{at(job)}/metrics"))
        with http.client.HTTPResponse(slow) as answer:
            answer.begin()
            assert answer.status == 200
            assert api.delete(at(job)).is_success
            until(lambda: left() == 0, "the job's rows to be purged")
            with pytest.raises(http.client.IncompleteRead):
                answer.read()
        words = "an answer was cut off: the job was deleted while it was read"
        lines = fresh_server.wait_for_log(lambda lines: any(words in line for line in lines))
        (told,) = [json.loads(line) for line in lines if words in line]
        assert (told["level"], told["message"]) == ("error", words)
        assert "Traceback" not in "\n".join(lines)


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_the_requests_under_way(fresh_server: Server, by: signal.Signals) -> None:
    with fresh_server.client() as api:
        job = create_job(api)
    body = json.dumps({"metrics": [ROW]}).encode()
    with connected(fresh_server) as idle, connected(fresh_server) as busy:
        length = f"Content-Length: {len(body)}"
        busy.sendall(head(fresh_server, "POST", f"{at(job)}/metrics", length) + body[:10])
        until(lambda: under_way(fresh_server) == 2, "the request to be under way")
        os.kill(fresh_server.pid, by)
        until(lambda: not listens(fresh_server), "the server to listen no more")
        assert idle.recv(1) == b""
        busy.sendall(body[10:])
        receipt = received(busy, "POST")
        assert receipt.json() == {"stored": 1, "duplicates": 0, "status": "running"}
        assert receipt.headers["connection"] == "close"
    assert fresh_server.stop(by) == OK
    assert "Traceback" not in "\n".join(fresh_server.log)
    fresh_server.start()
    with fresh_server.client() as api:
        assert api.get(f"{at(job)}/metrics").json() == {"metrics": [ROW]}


def listens(server: Server) -> bool:
    try:
        with connected(server):
            return True
    except ConnectionError:  # refused, or reset by the close that it was too late for
        return False


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    with Server(tmp_path, "--stop-seconds", "1") as server:
        with connected(server) as stuck:
            stuck.sendall(head(server, "POST", "/v1/fine-tunes", "Content-Length: 100") + b"{")
            until(lambda: under_way(server) == 2, "the request to be under way")
            assert server.stop() == OK
        assert "Traceback" not in "\n".join(server.log)
        assert all(json.loads(line) for line in server.log)


def test_a_stop_right_after_the_first_line_is_a_stop(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    with running("--store", store, "--port", "0") as process:
        first_lines(process, 1)
        process.terminate()
        assert process.wait(PATIENCE) == OK
        assert process.stderr is not None
        assert process.stderr.read() == ""


# ---------------------------------------------------------------- jobs without a word


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a server that takes a job without a word for a second as ended."""
    folder = tmp_path_factory.mktemp("impatient")
    with Server(folder, "--silence-seconds", "1") as server, server.client() as api:
        yield api


def when(api: httpx2.Client, job: RecordedJob, status: str) -> dict[str, Any]:
    """The job once it has this status."""

    def there() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(at(job)).json()
        return found if found["status"] == status else None

    found: dict[str, Any] = until(there, f"the job to be {status}")
    return found


def last_event(job: dict[str, Any]) -> tuple[str, str, str]:
    event = job["events"][-1]
    return event["type"], event["level"], event["message"]


def log_row(api: httpx2.Client, job: RecordedJob, step: int) -> str:
    """The status that a receipt tells."""
    row = {**ROW, "train/global_step": step}
    receipt: dict[str, Any] = api.post(f"{at(job)}/metrics", json={"metrics": [row]}).json()
    assert (receipt["stored"], receipt["duplicates"]) == (1, 0)
    status: str = receipt["status"]
    return status


def test_a_silent_job_becomes_an_error_and_runs_again_when_data_arrives(
    impatient: httpx2.Client,
) -> None:
    job = create_job(impatient)
    for step in (1, 2):  # more than once, if need be
        assert log_row(impatient, job, step) == "running"
        kind, level, words = last_event(when(impatient, job, "error"))
        assert (kind, level) == ("job_error", "error")
        assert re.fullmatch(r"No word from the job's writers for \d+ s: taken for error\.", words)
    assert log_row(impatient, job, 3) == "running"
    again = ("job_restarted", "info", "Its writer is heard again; the job goes on.")
    assert last_event(impatient.get(at(job)).json()) == again


def test_a_job_that_was_to_be_cancelled_is_cancelled_by_silence(impatient: httpx2.Client) -> None:
    job = create_job(impatient)
    log_row(impatient, job, 1)
    assert impatient.post(f"{at(job)}/cancel").json()["status"] == "cancel_requested"
    kind, level, words = last_event(when(impatient, job, "cancelled"))
    assert (kind, level) == ("job_stopped", "warning")
    assert re.fullmatch(r"No word from the job's writers for \d+ s: taken for cancelled\.", words)
    assert log_row(impatient, job, 2) == "cancelled"


@pytest.mark.parametrize("status", ["error", "completed", "cancelled"])
def test_a_job_that_its_owner_ended_is_not_woken(impatient: httpx2.Client, status: str) -> None:
    job, pending, witness = (create_job(impatient) for _ in range(3))
    log_row(impatient, job, 1)
    impatient.patch(at(job), json={"status": status})
    log_row(impatient, witness, 1)
    when(impatient, witness, "error")  # so by now, silence has been noticed
    ended = impatient.get(at(job)).json()
    assert (ended["status"], "No word" in last_event(ended)[2]) == (status, False)
    assert log_row(impatient, job, 2) == status
    assert impatient.get(at(job)).json()["events"] == ended["events"]
    assert impatient.get(at(pending)).json()["status"] == "pending"
