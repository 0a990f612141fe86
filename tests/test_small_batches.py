"""A small batch is answered by its connection, and nobody can tell that from the usual way.

A query string sends the very same request the usual way: `?usual` says nothing to the service.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx2
import pytest
import uvicorn
import uvloop
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from tests.exchanges import connected, exchange, head, received, under_way
from tests.recording import until
from tests.serving import Row, Server, create_job
from tunelog.server.connections import MOST_HEAD_BYTES, Connection
from tunelog.server.small_batches import Headers, Reply

ROW: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}
BODY = json.dumps({"metrics": [ROW]}).encode()


@pytest.fixture
def job(api: httpx2.Client) -> str:
    """A new job's path."""
    return f"/v1/fine-tunes/{create_job(api).id}"


def posted(server: Server, target: str, *headers: str, body: bytes = BODY) -> bytes:
    """The bytes of a request that posts a body."""
    return head(server, "POST", target, f"Content-Length: {len(body)}", *headers) + body


def both_ways(server: Server, at: str, *headers: str, body: bytes = BODY) -> list[Any]:
    """The answers to a request by the short way and by the usual one, without their dates."""
    targets = at, f"{at}?usual"
    answers = [exchange(server, posted(server, to, *headers, body=body)) for to in targets]
    return [
        (
            answer.status_code,
            sorted((name, value) for name, value in answer.headers.items() if name != "date"),
            answer.content,
        )
        for answer in answers
    ]


# ---------------------------------------------------------------- the same answers


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        json.dumps({"metrics": [ROW, {**ROW, "train/loss": "NaN"}], "writer": 3}).encode(),
        json.dumps({"metrics": [{"train/global_step": 2, "eval/loss": 1}]}).encode(),
        json.dumps({"metrics": []}).encode(),
        json.dumps({"metrics": [ROW], "attempt": 7}).encode(),
        json.dumps({"metrics": [{"train/loss": 1.0}]}).encode(),
        json.dumps({"metrics": [ROW] * 400}).encode(),
        b'{"metrics": [{"train/global_step": 1, "train/loss": NaN}]}',
        b"loss=0.5",
        b"",
        gzip.compress(BODY, mtime=0),
    ],
)
def test_whatever_is_posted_has_the_same_answer(server: Server, job: str, body: bytes) -> None:
    short, usual = both_ways(server, f"{job}/metrics", body=body)
    assert short == usual


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Type: application/json"],
        ["Content-Type: application/x-ndjson"],
        ["Content-Type: Application/X-NDJSON"],
        ["Content-Type: application/json", "Content-Encoding: gzip"],
        ["Content-Encoding: br"],
        ["Connection: close"],
        ["Authorization: Bearer tgl_unknown"],
    ],
)
def test_whatever_the_headers_say_has_the_same_answer(
    server: Server, job: str, headers: list[str]
) -> None:
    short, usual = both_ways(server, f"{job}/metrics", *headers)
    assert short == usual


@pytest.mark.parametrize(
    "at", ["/v1/fine-tunes/ft-none/metrics", "/fine-tunes/ft%2Dnone/metrics", "/v1/v1/fine-tunes/x"]
)
def test_what_is_not_there_has_the_same_answer(server: Server, at: str) -> None:
    short, usual = both_ways(server, at)
    assert short == usual
    assert short[0] in (404, 405)


@pytest.mark.parametrize(
    "key", ["Basic dHVuZTpsb2c=", "Bearer", "Bearer tgl_nobodys", "bearer  {}"]
)
def test_any_key_or_none_has_the_same_answer(server: Server, job: str, key: str) -> None:
    short, usual = as_caller(server, job, key.format(server.api_key))
    assert short == usual
    assert short[0] == (200 if "{}" in key else 401)


def as_caller(server: Server, job: str, authorization: str) -> list[tuple[int, bytes]]:
    """The answers to a good batch both ways, with this header of who posts it."""
    headers = {"Authorization": authorization}
    with httpx2.Client(base_url=server.url, headers=headers, verify=False) as caller:
        answers = [caller.post(f"{job}/metrics{how}", content=BODY) for how in ("", "?usual")]
    return [(answer.status_code, answer.content) for answer in answers]


def test_a_key_that_may_only_read_has_the_same_answer(server: Server, job: str) -> None:
    with server.client() as api:
        share = api.post("/v1/shares", json={"jobs": [job.rpartition("/")[2]]}).json()
    short, usual = as_caller(server, job, f"Bearer {share['token']}")
    assert short == usual
    assert short[0] == 403


def test_both_ways_are_logged_and_counted_alike(fresh_server: Server) -> None:
    with fresh_server.client() as api:
        job = create_job(api).id
    at = f"/v1/fine-tunes/{job}/metrics"
    both_ways(fresh_server, at, "X-Forwarded-For: 203.0.113.7")
    both_ways(fresh_server, at, body=b"no JSON")
    lines = fresh_server.wait_for_log(lambda lines: sum(at in line for line in lines) == 4)
    entries = [json.loads(line) for line in lines if at in line]
    for entry in entries:
        del entry["time"], entry["ms"]
    good, usually_good, bad, usually_bad = entries
    assert (good, bad) == (usually_good, usually_bad)
    assert (good["client"], bad["client"]) == ("203.0.113.7", "127.0.0.1")
    assert (good["operation"], good["status"], bad["status"]) == ("append_metrics", 200, 400)
    numbers = httpx2.get(f"{fresh_server.url}/metrics", verify=False).text
    counted = dict(
        re.findall(r'requests_total{operation="append_metrics",status="(\d+)"} (\S+)', numbers)
    )
    assert counted == {"200": "2.0", "400": "2.0"}
    assert "tunelog_requests_under_way 1.0" in numbers


# ---------------------------------------------------------------- on one connection


def test_requests_that_come_together_are_answered_in_their_order(server: Server, job: str) -> None:
    at = f"{job}/metrics"
    rows = [{**ROW, "train/global_step": step} for step in range(3)]
    bodies = [json.dumps({"metrics": [row]}).encode() for row in rows]
    together = [
        posted(server, at, body=bodies[0]),
        posted(server, f"{at}?usual", body=bodies[1]),
        head(server, "GET", job),
        posted(server, at, body=bodies[2]),
        head(server, "GET", at, "Connection: close"),
    ]
    with connected(server) as connection, connection.makefile("rb") as said:
        connection.sendall(b"".join(together))
        answers = said.read().split(b"HTTP/1.1 ")[1:]
    assert [answer[:6] for answer in answers] == [b"200 OK"] * 5
    assert [b'"stored":1' in answer for answer in answers] == [True, True, False, True, False]
    assert json.loads(answers[-1].partition(b"\r\n\r\n")[2]) == {"metrics": rows}


def test_any_number_of_requests_may_come_together(server: Server, job: str) -> None:
    good, bad = posted(server, f"{job}/metrics"), posted(server, f"{job}/metrics", body=b"bad")
    with connected(server) as connection, connection.makefile("rb") as said:
        connection.sendall((good + bad * 2000) * 2 + head(server, "GET", job, "Connection: close"))
        answers = said.read().split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == ([b"200"] + [b"400"] * 2000) * 2 + [b"200"]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_connection_that_is_to_be_closed_is_closed_behind_the_answer(
    server: Server, job: str, version: str
) -> None:
    headers = ["Connection: close"] if version == "1.1" else []
    request = posted(server, f"{job}/metrics", *headers).replace(
        b"HTTP/1.1", f"HTTP/{version}".encode(), 1
    )
    with connected(server) as connection:
        connection.sendall(request)
        answer = received(connection, "POST")
        assert answer.headers["connection"] == "close"
        assert answer.json() == {"stored": 1, "duplicates": 0, "status": "running"}
        assert connection.recv(1) == b""


def test_who_hangs_up_at_once_has_posted_all_the_same(server: Server, job: str) -> None:
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(posted(server, f"{job}/metrics"))
        line = f'"path":"{job}/metrics"'
        server.wait_for_log(lambda lines: any(line in each for each in lines))
    with server.client() as api:
        assert api.get(f"{job}/metrics").json() == {"metrics": [ROW]}


def test_garbage_behind_batches_harms_nobody_else(fresh_server: Server) -> None:
    """Whoever it came from is gone before the first batch is answered."""
    with fresh_server.client() as api:
        job = create_job(api).id
        at = f"/v1/fine-tunes/{job}/metrics"
        for _ in range(5):
            with connected(fresh_server) as connection:
                connection.sendall(posted(fresh_server, at) * 2 + b"garbage\r\n\r\n")
                assert api.post(at, content=BODY).json()["stored"] == 1
        until(lambda: under_way(fresh_server) == 1, "every batch to be counted as answered")
    assert "Traceback" not in "\n".join(fresh_server.log)


# ---------------------------------------------------------------- which way


class Offered:
    """Stands for `SmallBatches`: takes those whose body says so, and tells what it was offered."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def take(self, scope: Any, body: bytes, reply: Reply) -> bool:
        self.bodies.append(body)
        if body != b"take":
            return False
        headers: Headers = [(b"content-length", b"5")]
        asyncio.get_running_loop().call_soon(reply, 200, headers, b"taken")
        return True


def test_a_post_of_metrics_is_offered_when_all_of_it_has_come() -> None:
    offered = Offered()
    parts = post(b"take"), post(b"leave"), post(b"take")[:-1], b"e" + post(b"take")
    assert answers(offered, *parts) == ["taken", "usual", "usual", "taken"]
    assert offered.bodies == [b"take", b"leave", b"take"]


def test_who_does_not_read_answers_is_waited_for() -> None:
    """Else the answers to what one sends without end would fill the memory."""
    offered = Offered()
    assert answers(offered, post(b"take"), stuck=True) == ["usual"]
    assert offered.bodies == []


def test_a_body_is_not_taken_for_a_head() -> None:
    """Though it came with the end of one head and the beginning of another."""
    small, long = post(b"take"), post(b"x" * 2 * MOST_HEAD_BYTES)
    parts = small + long[:2], long[2:] + small[:20], small[20:]
    assert answers(Offered(), *parts) == ["taken", "usual", "taken"]


def post(body: bytes) -> bytes:
    head = "POST /v1/fine-tunes/x/metrics HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"
    return "\r\n".join([*head, "", ""]).encode() + body


def answers(offered: Offered, *parts: bytes, stuck: bool = False) -> list[str]:
    """What is answered to each part that comes at once, before the next does.

    In a thread of its own, as a browser's tests leave a loop running in this one.

    Args:
        offered: what small batches are offered to.
        parts: the bytes that come.
        stuck: whether the client takes nothing until the part has come.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(uvloop.run, _answers(offered, parts, stuck)).result()


async def _answers(offered: Offered, parts: Sequence[bytes], stuck: bool) -> list[str]:
    config = uvicorn.Config(PlainTextResponse("usual"), http=Connection, lifespan="off")
    loop, state = asyncio.get_running_loop(), {"small_batches": offered}
    config.load()
    made = loop.create_future()

    def connect() -> Connection:
        made.set_result(Connection(config, ServerState(), state, loop))
        return cast(Connection, made.result())

    server = await loop.create_server(connect, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    connection = await made
    said = []
    for part in parts:
        if stuck:
            connection.pause_writing()
        connection.data_received(part)
        if stuck:
            connection.resume_writing()
        await reader.readuntil(b"\r\n\r\n")
        said.append((await reader.readexactly(5)).decode())
    writer.close()
    server.close()
    return said
