"""Signing in: sessions of a key, the one-time link, and what a cookie may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.commands import OK, run
from tests.exchanges import refused
from tests.serving import PATIENCE, Server
from tests.tailing import tailing
from tunelog.access import ApiKey, Scope
from tunelog.backends import open_backend
from tunelog.backends.memory import MemoryBackend
from tunelog.errors import Unauthenticated
from tunelog.server.codes import CODE_SECONDS, Codes
from tunelog.server.sessions import COOKIE, SECONDS, Sessions

ENDED = "this session has ended or is not one: sign in again"
NOT_THE_PAGE = "a session is good for changes only from the page itself; send a key"
NO_KEY = "an API key is required: Authorization: Bearer <key>"
WRONG_KEY = "this API key does not exist or was revoked"
DAY = 86_400 * 1_000_000_000


def browser(server: Server) -> httpx2.Client:
    """A client that keeps cookies and has no key."""
    return httpx2.Client(base_url=server.url, timeout=PATIENCE)


def new_key(server: Server, *scopes: Scope, project: str = "default") -> tuple[ApiKey, str]:
    backend = open_backend(server.store)
    try:
        return backend.create_key(backend.create_project(project), scopes)
    finally:
        backend.close()


@contextmanager
def signed_in(server: Server, secret: str) -> Iterator[httpx2.Client]:
    with browser(server) as client:
        assert client.post("/session", json={"api_key": secret}).status_code == 204
        yield client


@pytest.fixture
def page(server: Server) -> Iterator[httpx2.Client]:
    """A browser that is signed in with the server's first key."""
    with signed_in(server, server.api_key) as client:
        yield client


# ---------------------------------------------------------------- with a key


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(server: Server) -> None:
    with browser(server) as client:
        answer = client.post("/session", json={"api_key": f" {server.api_key} "})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"
    name, *rest = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=key-")
    assert server.api_key not in name
    assert sorted(rest) == ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=strict"]


def test_the_cookie_is_for_https_alone_where_the_page_came_by_https(server: Server) -> None:
    headers = {"X-Forwarded-Proto": "https"}  # what a proxy on this machine says
    with browser(server) as client:
        answer = client.post("/session", json={"api_key": server.api_key}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_a_session_is_its_key(server: Server) -> None:
    key, secret = new_key(server, "read", project="sessions")
    with signed_in(server, secret) as client:
        me = client.get("/v1/whoami").json()
        assert (me["api_key_id"], me["project_name"]) == (key.id, "sessions")
        assert client.get("/v1/fine-tunes").json() == {"data": []}
        answer = client.post(
            "/v1/fine-tunes", json={"model": "m"}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        refused(answer, 403, "this API key lacks the scope write")
    logged = [json.loads(line) for line in server.log if key.id in line]
    assert {line["operation"] for line in logged} >= {"begin_session", "whoami", "list_jobs"}


@pytest.mark.parametrize(
    ("body", "status", "message", "param"),
    [
        (b'{"api_key": "tl-nobodys"}', 401, WRONG_KEY, None),
        (b'{"api_key": " "}', 400, "api_key: a key is required", "api_key"),
        (b'{"api_key": 1}', 400, "api_key: a key is required", "api_key"),
        (b"{}", 400, "api_key: a key is required", "api_key"),
        (b"[]", 400, "bad JSON body: an array where an object belongs", None),
        (b" " * 65_537, 413, "the body is larger than the 65536 bytes allowed", None),
    ],
)
def test_without_a_good_key_there_is_no_session(
    server: Server, body: bytes, status: int, message: str, param: str | None
) -> None:
    with browser(server) as client:
        answer = client.post("/session", content=body)
        refused(answer, status, message, param)
        assert "set-cookie" not in answer.headers
        refused(client.get("/session"), 405, "/session does not take GET")


def test_signing_out_has_the_browser_forget(page: httpx2.Client) -> None:
    assert page.get("/v1/whoami").status_code == 200
    answer = page.delete("/session")
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not page.cookies
    assert page.get("/v1/whoami").status_code == 401
    assert page.delete("/session").status_code == 204


def test_a_session_outlives_a_restart_and_dies_with_its_key(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        key, secret = new_key(server, "read")
        with signed_in(server, secret) as client, signed_in(server, server.api_key) as witness:
            server.restart()
            assert client.get("/v1/whoami").json()["api_key_id"] == key.id
            done = run(server, "keys", "revoke", key.id, "--store", server.store)
            assert done.returncode == OK
            refused(client.get("/v1/whoami"), 401, WRONG_KEY)
            assert witness.get("/v1/whoami").status_code == 200


def test_a_live_tail_of_a_session_ends_when_its_key_is_revoked(
    server: Server, api: httpx2.Client
) -> None:
    key, secret = new_key(server, "read")
    job_id = api.post("/v1/fine-tunes", json={"model": "m"}).json()["id"]
    with signed_in(server, secret) as client, tailing(client, job_id) as tail:
        tail.until_now()
        assert run(server, "keys", "revoke", key.id, "--store", server.store).returncode == OK
        assert list(tail) == []


def test_a_session_that_was_tampered_with_is_none(server: Server, page: httpx2.Client) -> None:
    session = page.cookies[COOKIE]
    key, expires, signature = session.split(".")
    other, _ = new_key(server, "admin")
    for wrong in (
        f"{other.id}.{expires}.{signature}",
        f"{key}.{int(expires) + 1}.{signature}",
        f"{key}.{expires}.{signature[:-1]}",
        f"{key}.{expires}.{signature[::-1]}",
        f"{key}.{expires}",
        f"{key}.{expires}.",
        "....",
        "\xff",
        server.api_key,
    ):
        headers = httpx2.Headers({"Cookie": f"{COOKIE}={wrong}"}, "latin-1")
        refused(httpx2.get(f"{server.url}/v1/whoami", headers=headers), 401, ENDED)
    refused(httpx2.get(f"{server.url}/v1/whoami", headers={"Cookie": f"{COOKIE}="}), 401, NO_KEY)


def test_a_session_of_another_store_is_none(fresh_server: Server, page: httpx2.Client) -> None:
    headers = {"Cookie": f"{COOKIE}={page.cookies[COOKIE]}"}
    refused(httpx2.get(f"{fresh_server.url}/v1/whoami", headers=headers), 401, ENDED)


def test_a_key_that_is_sent_as_well_wins(server: Server, page: httpx2.Client) -> None:
    key, secret = new_key(server, "read", "write", project="elsewhere")
    headers = {"Authorization": f"Bearer {secret}"}
    assert page.get("/v1/whoami", headers=headers).json()["api_key_id"] == key.id
    assert page.post("/v1/fine-tunes", json={"model": "m"}, headers=headers).status_code == 200
    wrong = {"Authorization": "Bearer tl-nobodys"}
    refused(page.get("/v1/whoami", headers=wrong), 401, WRONG_KEY)


# ---------------------------------------------------------------- from where


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "{url}"}, True),
        ({"Origin": "https://{host}"}, True),  # behind a proxy that speaks TLS
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://by.a.proxy"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "{url}"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "https://elsewhere.example"}, False),
        ({"Origin": "http://user@{host}"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({}, False),
    ],
)
def test_a_session_changes_things_only_from_a_page_of_the_service(
    server: Server, page: httpx2.Client, headers: dict[str, str], ours: bool
) -> None:
    host = server.url.removeprefix("http://")
    told = {name: value.format(url=server.url, host=host) for name, value in headers.items()}
    job = page.post("/v1/fine-tunes", json={"model": "m"}, headers=told)
    found = page.post("/v1/metrics/query", json={"jobs": ["ft-nobody"]}, headers=told)
    if ours:
        assert (job.status_code, found.status_code) == (200, 200)
        path = f"/v1/fine-tunes/{job.json()['id']}"
        assert page.patch(path, json={"name": "n"}, headers=told).status_code == 200
        assert page.delete(path, headers=told).status_code == 200
    else:
        refused(job, 403, NOT_THE_PAGE)
        refused(found, 403, NOT_THE_PAGE)
        refused(page.delete("/v1/fine-tunes/ft-nobody", headers=told), 403, NOT_THE_PAGE)
    assert page.get("/v1/whoami", headers=told).status_code == 200
    begun = page.post("/session", json={"api_key": server.api_key}, headers=told)
    ended = page.delete("/session", headers=told)
    if ours or not headers:  # who says nothing of where it comes from is no browser
        assert (begun.status_code, ended.status_code) == (204, 204)
    else:
        refused(begun, 403, "a session can be begun only from the page itself")
        refused(ended, 403, "a session can be ended only from the page itself")


# ---------------------------------------------------------------- the one-time link


def test_the_link_signs_in_once(fresh_server: Server) -> None:
    with browser(fresh_server) as client:
        assert client.head(fresh_server.link).status_code == 303  # only looked at
        answer = client.get(fresh_server.link, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "HttpOnly" in answer.headers["set-cookie"]
        me = client.get("/v1/whoami").json()
        assert (me["project_name"], me["scopes"]) == ("default", ["admin"])
        assert me["api_key"]["name"] == f"…{fresh_server.api_key[-4:]}"
    with browser(fresh_server) as other:
        for link in (fresh_server.link, f"{fresh_server.url}/sign-in", "/sign-in?code=%ff"):
            answer = other.get(link, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/?sign-in=expired")
            assert "set-cookie" not in answer.headers


def test_of_many_that_take_the_link_at_once_one_is_signed_in(fresh_server: Server) -> None:
    def take(_: int) -> str:
        answer = httpx2.get(fresh_server.link, follow_redirects=False)
        return str(answer.headers["location"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(take, range(16)))
    assert sorted(found) == ["/", *["/?sign-in=expired"] * 15]


def test_a_restart_makes_the_old_link_useless(fresh_server: Server) -> None:
    old = fresh_server.link
    fresh_server.restart()
    for link, place in ((old, "/?sign-in=expired"), (fresh_server.link, "/")):
        assert httpx2.get(link, follow_redirects=False).headers["location"] == place


def test_the_link_is_of_the_oldest_good_admin_key_of_the_first_project(
    fresh_server: Server,
) -> None:
    first = httpx2.get(
        f"{fresh_server.url}/v1/whoami",
        headers={"Authorization": f"Bearer {fresh_server.api_key}"},
    ).json()["api_key_id"]
    elsewhere, _ = new_key(fresh_server, "admin", project="a")
    reader, _ = new_key(fresh_server, "read", "write")
    second, secret = new_key(fresh_server, "admin")
    link = fresh_server.link
    assert run(fresh_server, "keys", "revoke", first, "--store", fresh_server.store).returncode == 0
    gone = httpx2.get(link, follow_redirects=False)
    assert gone.headers["location"] == "/?sign-in=expired"
    fresh_server.api_key = secret
    fresh_server.restart()
    with browser(fresh_server) as client:
        client.get(fresh_server.link, follow_redirects=False)
        assert client.get("/v1/whoami").json()["api_key_id"] == second.id
    assert len({first, elsewhere.id, reader.id, second.id}) == 4


def test_no_line_and_no_file_tells_a_key_a_code_or_a_session(
    fresh_server: Server, tmp_path: Path
) -> None:
    code = fresh_server.link.partition("code=")[2]
    with browser(fresh_server) as client:
        client.get(fresh_server.link, follow_redirects=False)
        session = client.cookies[COOKIE]
        client.get(fresh_server.link, follow_redirects=False)
        client.get("/v1/whoami")
        client.post("/session", json={"api_key": fresh_server.api_key})
        client.get(f"/page/{code}?code={code}")
        fresh_server.wait_for_log(lambda lines: len(lines) >= 5)
    log = [line for line in fresh_server.log if "/page/" not in line]
    assert {json.loads(line)["path"] for line in log} >= {"/sign-in", "/session"}
    signature = session.rpartition(".")[2]
    for secret in (code, signature, fresh_server.api_key):
        assert secret not in "\n".join(log)
        for path in tmp_path.glob("tunelog.db*"):
            assert path.suffix == ".key" or secret.encode() not in path.read_bytes()


# ---------------------------------------------------------------- times


class Sundial:
    def __init__(self) -> None:
        self.now = 1_779_196_193_000_000_000

    def __call__(self) -> int:
        return self.now


def test_a_session_lasts_thirty_days() -> None:
    sundial = Sundial()
    backend = MemoryBackend(sundial)
    key, _ = backend.create_key(backend.create_project("default"), ["read"])
    session = Sessions(backend, sundial, Codes(sundial)).begin(key.id)
    assert SECONDS == 30 * 86_400
    sundial.now += 30 * DAY - 1
    assert Sessions(backend, sundial, Codes(sundial)).principal(session).key == key
    sundial.now += 1
    with pytest.raises(Unauthenticated, match="sign in again"):
        Sessions(backend, sundial, Codes(sundial)).principal(session)


def test_a_code_lasts_ten_minutes() -> None:
    sundial = Sundial()
    backend = MemoryBackend(sundial)
    key, _ = backend.create_key(backend.create_project("default"), ["admin"])
    codes = Codes(sundial)
    sessions = Sessions(backend, sundial, codes)
    early, late = codes.new(key.id), codes.new(key.id)
    assert CODE_SECONDS == 600
    sundial.now += 600_000_000_000 - 1
    assert sessions.redeem(early) == key.id
    sundial.now += 1
    assert sessions.redeem(late) is None
