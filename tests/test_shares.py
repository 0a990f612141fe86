"""Share links over HTTP: what they show, what they do not, and how they end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.commands import OK, run
from tests.exchanges import refused
from tests.serving import PATIENCE, Row, Server, create_job
from tests.tailing import tailing
from tests.test_keys import BODIES, create_key, made_key
from tests.test_keys import client as client_of
from tunelog.server.app import OPERATIONS, Operation

ROW: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}
USELESS = "this share link does not exist, has expired or was revoked"
READS = [o for o in OPERATIONS if "{id}" in o.path and o.scope == "read"]
CHANGES = [o for o in OPERATIONS if o.scope not in (None, "read")]


def job_with_a_row(api: httpx2.Client, **fields: Any) -> str:
    job_id: str = create_job(api, **fields).id
    assert api.post(f"/v1/fine-tunes/{job_id}/metrics", json={"metrics": [ROW]}).status_code == 200
    return job_id


def share(api: httpx2.Client, *jobs: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/shares", json={"jobs": jobs, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


@contextmanager
def visitor(server: Server, token: str) -> Iterator[httpx2.Client]:
    """Someone who has a share link."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=PATIENCE) as client:
        yield client


def lifetime(made: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])


# ---------------------------------------------------------------- making and listing


def test_a_share_is_made_with_an_address_that_keeps_its_token_from_servers(
    server: Server, api: httpx2.Client
) -> None:
    job = job_with_a_row(api)
    answer = api.post("/v1/shares", json={"jobs": [job], "expires_in": 60, "name": "review"})
    made = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"sh-[0-9a-f-]{36}", made["id"])
    assert re.fullmatch(r"tls-[A-Za-z0-9_-]{43}", made["token"])
    assert made["url"] == f"{server.url}/#share={made['token']}"
    assert (made["jobs"], made["name"], made["revoked_at"]) == ([job], "review", None)
    assert lifetime(made) == timedelta(seconds=60)
    listed = api.get("/v1/shares").json()["data"]
    assert listed[0] == {k: v for k, v in made.items() if k not in ("token", "url")}


def test_a_share_is_good_for_seven_days_unless_it_says_otherwise(api: httpx2.Client) -> None:
    job = job_with_a_row(api)
    assert lifetime(share(api, job)) == timedelta(days=7)
    assert lifetime(share(api, job, expires_in=None)) == timedelta(days=7)
    assert lifetime(share(api, job, expires_in=366 * 86_400.0)) == timedelta(days=366)


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({}, "jobs: 1 to 100 ids of jobs are wanted", "jobs"),
        ({"jobs": []}, "jobs: 1 to 100 ids of jobs are wanted", "jobs"),
        ({"jobs": ["ft-a"] * 101}, "jobs: 1 to 100 ids of jobs are wanted", "jobs"),
        ({"jobs": "ft-a"}, "jobs: 1 to 100 ids of jobs are wanted", "jobs"),
        ({"jobs": [1]}, "jobs: 1 to 100 ids of jobs are wanted", "jobs"),
        (
            {"jobs": ["ft-a"], "expires_in": 0},
            "expires_in: a whole number from 1 to 31622400 is wanted",
            "expires_in",
        ),
        (
            {"jobs": ["ft-a"], "expires_in": 367 * 86_400},
            "expires_in: a whole number from 1 to 31622400 is wanted",
            "expires_in",
        ),
        ({"jobs": ["ft-a"], "name": ""}, "name: 1 to 200 characters are wanted", "name"),
        ({"jobs": ["ft-a"], "name": "x" * 201}, "name: 1 to 200 characters are wanted", "name"),
    ],
)
def test_what_no_share_can_be_made_of_is_refused(
    api: httpx2.Client, fields: dict[str, Any], message: str, param: str
) -> None:
    refused(api.post("/v1/shares", json=fields), 400, message, param)


def test_only_jobs_of_the_project_can_be_shared(server: Server, api: httpx2.Client) -> None:
    job = job_with_a_row(api)
    refused(api.post("/v1/shares", json={"jobs": [job, "ft-nobody"]}), 404, "no job ft-nobody")
    with client_of(server, made_key(server, "admin", project="elsewhere")) as stranger:
        refused(stranger.post("/v1/shares", json={"jobs": [job]}), 404, f"no job {job}")
        made = share(api, job)
        refused(stranger.delete(f"/v1/shares/{made['id']}"), 404, f"no share {made['id']}")
        assert made["id"] not in stranger.get("/v1/shares").text


# ---------------------------------------------------------------- what it shows


@pytest.mark.parametrize("operation", READS, ids=lambda o: str(o.path))
def test_a_share_reads_its_jobs_as_a_key_does_and_no_others(
    server: Server, api: httpx2.Client, operation: Operation
) -> None:
    mine, other = job_with_a_row(api), job_with_a_row(api)
    with visitor(server, share(api, mine)["token"]) as client:
        path = "/v1" + operation.path
        assert client.get(path.format(id=mine)).json() == api.get(path.format(id=mine)).json()
        refused(client.get(path.format(id=other)), 404, f"no job {other}")
        refused(client.get(path.format(id="ft-nobody")), 404, "no job ft-nobody")


def test_a_share_lists_its_jobs_alone(server: Server, api: httpx2.Client) -> None:
    jobs = [job_with_a_row(api, suffix=f"s{number}") for number in range(3)]
    with visitor(server, share(api, jobs[0], jobs[2])["token"]) as client:
        found = client.get("/v1/fine-tunes")
        assert [job["id"] for job in found.json()["data"]] == [jobs[2], jobs[0]]
        assert found.headers["tunelog-matched"] == "2"
        page = client.get("/v1/fine-tunes", params={"search": "S", "limit": 1, "offset": 1})
        assert [job["id"] for job in page.json()["data"]] == [jobs[0]]
        assert page.headers["tunelog-matched"] == "2"
        assert client.get("/v1/fine-tunes?search=s1").json() == {"data": []}
        api.delete(f"/v1/fine-tunes/{jobs[2]}")
        left = client.get("/v1/fine-tunes").json()["data"]
        assert [job["id"] for job in left] == [jobs[0]]


def test_a_share_queries_and_follows_its_jobs_alone(server: Server, api: httpx2.Client) -> None:
    mine, other = job_with_a_row(api), job_with_a_row(api)
    with visitor(server, share(api, mine)["token"]) as client:
        found = client.post("/v1/metrics/query", json={"jobs": [mine, other]}).json()["jobs"]
        assert (found[mine]["metrics"], found[mine]["matched"]) == ([ROW], 1)
        assert found[other]["error"]["message"] == f"no job {other}"
        with tailing(client, mine) as tail:
            assert any(event.data == ROW for event in tail.until_now())
        headers = {"Accept": "text/event-stream"}
        tail_of_other = client.get(f"/v1/fine-tunes/{other}/metrics", headers=headers)
        refused(tail_of_other, 404, f"no job {other}")


@pytest.mark.parametrize("operation", CHANGES, ids=lambda o: f"{o.method} {o.path}")
def test_a_share_changes_nothing(server: Server, api: httpx2.Client, operation: Operation) -> None:
    job = job_with_a_row(api)
    made = share(api, job)
    before = api.get(f"/v1/fine-tunes/{job}").json()
    with visitor(server, made["token"]) as client:
        path = "/v1" + operation.path.format(id=job, share=made["id"])
        body = {"jobs": [job]} if operation.path == "/shares" else BODIES.get(operation[:2])
        answer = client.request(operation.method, path, json=body)
        refused(answer, 403, f"a share link lacks the scope {operation.scope}")
        refused(client.get("/v1/shares"), 403, "a share link only lets its jobs be read")
    assert api.get(f"/v1/fine-tunes/{job}").json() == before


def test_a_share_knows_what_it_is(server: Server, api: httpx2.Client) -> None:
    jobs = [job_with_a_row(api) for _ in range(2)]
    made, me = share(api, *jobs), api.get("/v1/whoami").json()
    project = me["project_id"]
    with visitor(server, made["token"]) as client:
        for path in ("/v1/whoami", "/v3/whoami"):
            assert client.get(path).json() == {
                "type": "share",
                "share_id": made["id"],
                "jobs": jobs,
                "expires_at": made["expires_at"],
                "organization_id": project,
                "organization_name": "default",
                "project_id": project,
                "project_name": "default",
                "project_slug": "default",
                "user_id": project,
                "organization": {"id": project, "name": "default"},
                "project": {"id": project, "name": "default", "slug": "default"},
                "scopes": ["read"],
            }
    logged = server.wait_for_log(lambda lines: any(made["id"] in line for line in lines))
    assert made["token"] not in "\n".join(logged)


def test_a_share_is_no_key_to_sign_in_with(server: Server, api: httpx2.Client) -> None:
    token = share(api, job_with_a_row(api))["token"]
    answer = httpx2.post(f"{server.url}/session", json={"api_key": token})
    refused(answer, 400, "api_key: a share link is not a key", "api_key")


def test_a_job_made_later_under_a_shared_ones_id_is_not_shown(
    server: Server, api: httpx2.Client
) -> None:
    job = job_with_a_row(api)
    token = share(api, job)["token"]
    api.delete(f"/v1/fine-tunes/{job}")
    assert api.post("/v1/fine-tunes", json={"model": "another", "id": job}).status_code == 200
    with visitor(server, token) as client:
        refused(client.get(f"/v1/fine-tunes/{job}"), 404, f"no job {job}")
        refused(client.get(f"/v1/fine-tunes/{job}/metrics"), 404, f"no job {job}")
        assert client.get("/v1/fine-tunes").json() == {"data": []}


# ---------------------------------------------------------------- how it ends


def test_a_share_that_is_revoked_ends_at_once_its_tails_too(
    server: Server, api: httpx2.Client
) -> None:
    job = job_with_a_row(api)
    made = share(api, job)
    with visitor(server, made["token"]) as client, tailing(client, job) as tail:
        tail.until_now()
        revoked = api.delete(f"/v1/shares/{made['id']}").json()
        assert revoked["revoked_at"] is not None
        assert revoked in api.get("/v1/shares").json()["data"]
        refused(client.get("/v1/fine-tunes"), 401, USELESS)
        assert list(tail) == []
    assert api.delete(f"/v1/shares/{made['id']}").json() == revoked


def test_a_share_ends_with_the_key_that_it_was_made_with(server: Server) -> None:
    key = create_key(server, "read", "write")
    with client_of(server, key) as api:
        made = share(api, job_with_a_row(api))
    with visitor(server, made["token"]) as client:
        assert client.get("/v1/whoami").status_code == 200
        assert run(server, "keys", "revoke", key.id, "--store", server.store).returncode == OK
        refused(client.get("/v1/whoami"), 401, USELESS)
