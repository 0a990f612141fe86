"""Answers from memory: the same as ever, and never one that is out of date."""

from __future__ import annotations

import json

import httpx2
import pytest

from tests.commands import OK, out, run
from tests.recording import until
from tests.serving import BEGIN, NS, RecordedJob, Request, Row, Server, create_job, record_job

QUERY = {"resolution": 5}


def path(job: RecordedJob) -> str:
    return f"/v1/fine-tunes/{job.id}/metrics"


@pytest.fixture
def job(api: httpx2.Client) -> RecordedJob:
    return record_job(api)


def ask(api: httpx2.Client, job: RecordedJob, **headers: str) -> httpx2.Response:
    return api.get(path(job), params=QUERY, headers=headers)


def row(step: int) -> Row:
    return {"timestamp": BEGIN + step * NS, "train/global_step": step, "train/loss": 9.0}


def test_an_answer_that_is_sent_again_is_the_same_in_every_byte(
    api: httpx2.Client, job: RecordedJob
) -> None:
    first, second = ask(api, job), ask(api, job)
    assert second.content == first.content
    ours = [name for name in first.headers if name not in ("date", "x-request-id")]
    assert {n: second.headers[n] for n in ours} == {n: first.headers[n] for n in ours}


def test_what_is_logged_is_in_the_next_answer(api: httpx2.Client, job: RecordedJob) -> None:
    for step in range(1000, 1005):
        assert ask(api, job).content == ask(api, job).content
        assert api.post(path(job), json={"metrics": [row(step)]}).status_code == 200
        assert ask(api, job).json()["metrics"][-1]["train/global_step"] == step


def test_a_restart_of_the_training_changes_the_answer(api: httpx2.Client, job: RecordedJob) -> None:
    before = ask(api, job)
    answer = api.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 3})
    assert answer.status_code in (200, 201)
    after = ask(api, job)
    assert max(r["train/global_step"] for r in before.json()["metrics"]) >= 3
    assert max(r["train/global_step"] for r in after.json()["metrics"]) < 3


def test_the_format_and_the_encoding_are_not_mistaken_for_each_other(
    api: httpx2.Client, job: RecordedJob
) -> None:
    for _ in range(2):
        assert ask(api, job, Accept="text/csv").headers["content-type"].startswith("text/csv")
        assert ask(api, job).headers["content-type"] == "application/json"
        assert "content-encoding" not in ask(api, job, **{"Accept-Encoding": "identity"}).headers
        packed = api.get(path(job), headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"


def test_another_key_and_a_deleted_job_get_no_answer_of_before(
    api: httpx2.Client, job: RecordedJob
) -> None:
    assert ask(api, job).status_code == 200
    assert ask(api, job, Authorization="Bearer tl-nobody").status_code == 401
    assert api.get(path(job), params=QUERY, headers={"Authorization": ""}).status_code == 401
    assert api.delete(f"/v1/fine-tunes/{job.id}").status_code == 200
    assert ask(api, job).status_code == 404


def test_what_another_process_does_to_the_store_counts_at_once(fresh_server: Server) -> None:
    store = ("--store", fresh_server.store)
    secret = run(fresh_server, "keys", "create", "--scope", "read", *store).stdout.strip()
    with fresh_server.client() as api:
        job = record_job(api)
        theirs = {"Authorization": f"Bearer {secret}"}
        assert ask(api, job, **theirs).status_code == 200
        assert ask(api, job, **theirs).status_code == 200
        keys = json.loads(out(fresh_server, "keys", "list", "--json", *store))
        (key_id,) = (key["id"] for key in keys if key["scopes"] == ["read"])
        assert run(fresh_server, "keys", "revoke", key_id, *store).returncode == OK
        assert ask(api, job, **theirs).status_code == 401


def test_what_a_share_link_shows_ends_when_it_expires(api: httpx2.Client, job: RecordedJob) -> None:
    made = api.post("/v1/shares", json={"jobs": [job.id], "expires_in": 1}).json()
    theirs = {"Authorization": f"Bearer {made['token']}"}

    def refused() -> bool:
        return ask(api, job, **theirs).status_code == 401

    until(refused, "the link to expire")
    assert ask(api, job).status_code == 200


def test_the_services_own_numbers_are_never_those_of_before(api: httpx2.Client) -> None:
    first, second = (api.get("/v1/metrics") for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.text != second.text  # the first was a request, too


def test_every_request_is_told_of_in_the_log(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    with server.requests() as requests:
        ask(api, job)
        ask(api, job)
    assert requests == [Request("GET", path(job), 200)] * 2
