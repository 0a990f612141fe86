"""Together's TypeScript SDK, in Node."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.clients.published import Outcome, Published
from tests.serving import Request, Server, create_job, record_job


def steps(outcome: Outcome) -> list[int]:
    """The steps of the snapshots that the client was given."""
    return [row["train/global_step"] for row in outcome["value"]["metrics"]]


def test_every_answer_holds_what_was_recorded(published: Published, api: httpx2.Client) -> None:
    job = record_job(api, status="completed")
    at = f"/v1/fine-tunes/{job.id}"

    metrics, retrieved, events, checkpoints, jobs, whoami = (
        outcome["value"]
        for outcome in published.node(
            ["fineTuning.listMetrics", job.id],
            ["fineTuning.retrieve", job.id],
            ["fineTuning.listEvents", job.id],
            ["fineTuning.listCheckpoints", job.id],
            ["fineTuning.list"],
            ["whoami"],
        )
    )

    assert metrics == {"metrics": job.shown}
    assert retrieved == api.get(at).json()
    assert events == api.get(f"{at}/events").json()
    assert checkpoints == api.get(f"{at}/checkpoints").json()
    assert [listed["status"] for listed in jobs["data"] if listed["id"] == job.id] == ["completed"]
    assert whoami["project_name"] == "default"


def test_filters_take_dates_strings_and_nothing(published: Published, api: httpx2.Client) -> None:
    job = record_job(api)

    def list_metrics(**filters: Any) -> list[Any]:
        return ["fineTuning.listMetrics", job.id, filters]

    from_date, to_date, naive, by_step, sampled, none, nulls = published.node(
        list_metrics(logged_at_from={"$date": "2026-01-01T00:06:30.000Z"}),
        list_metrics(logged_at_to={"$date": "2026-01-01T00:00:20.000Z"}),
        list_metrics(logged_at_from="2026-01-01T00:06:30"),
        list_metrics(global_step_from=8, global_step_to=11),
        list_metrics(resolution=2, global_step_to=9),
        list_metrics(logged_at_to={"$date": "2026-01-01T00:00:00.000Z"}),
        list_metrics(global_step_from=None, logged_at_to=None, resolution=None),
    )

    assert steps(from_date) == [39, 40, 40]
    assert steps(to_date) == [1, 2]
    assert steps(naive) == [39, 40, 40]
    assert steps(by_step) == [8, 9, 10, 10, 11]
    assert steps(sampled) == [1, 9]
    assert none["value"] == {"metrics": []}
    assert nulls["value"] == {"metrics": job.shown}


def test_cancel_and_delete(published: Published, server: Server, api: httpx2.Client) -> None:
    running, waiting = record_job(api), create_job(api)

    with server.requests() as requests:
        asked, cancelled, deleted, forced = published.node(
            ["fineTuning.cancel", running.id],
            ["fineTuning.cancel", waiting.id],
            ["fineTuning.delete", running.id],
            ["fineTuning.delete", waiting.id, {"force": True}],
        )

    assert (asked["value"]["id"], asked["value"]["status"]) == (running.id, "cancel_requested")
    assert (cancelled["value"]["id"], cancelled["value"]["status"]) == (waiting.id, "cancelled")
    assert running.id in deleted["value"]["message"]
    assert waiting.id in forced["value"]["message"]
    assert [request.status for request in requests] == [200] * 4


def test_an_error_has_its_class_the_servers_words_and_body_and_is_not_tried_again(
    published: Published, server: Server, api: httpx2.Client
) -> None:
    job = record_job(api, status="completed")
    calls = (
        (["fineTuning.listMetrics", "ft-nobody"], 404, "NotFoundError"),
        (["fineTuning.retrieve", "ft-a/b c"], 404, "NotFoundError"),
        (["fineTuning.delete", "ft-nobody"], 404, "NotFoundError"),
        (["fineTuning.listMetrics", job.id, {"resolution": "abc"}], 400, "BadRequestError"),
        (["fineTuning.cancel", job.id], 409, "ConflictError"),
    )

    with server.requests() as requests:
        outcomes = published.node(*(call for call, _, _ in calls))

    assert [(outcome["status"], outcome["error"]) for outcome in outcomes] == [
        (status, name) for _, status, name in calls
    ]
    assert [request.status for request in requests] == [status for _, status, _ in calls]
    for outcome in outcomes:
        assert_error_body(outcome)


def test_a_wrong_key_is_an_authentication_error_and_is_not_tried_again(
    published: Published, server: Server
) -> None:
    with server.requests() as requests:
        (outcome,) = published.node(["fineTuning.list"], apiKey="wrong")

    assert (outcome["status"], outcome["error"]) == (401, "AuthenticationError")
    assert_error_body(outcome)
    assert [request.status for request in requests] == [401]


def assert_error_body(outcome: Outcome) -> None:
    """The one error body of sdk-contract 4, and the client's message is its message."""
    body = outcome["body"]
    assert outcome["message"] == f"{outcome['status']} {body['message']}"
    assert body["error"]["message"] == body["message"]
    assert body["error"]["type"]
    assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_one_base_url_serves_it_however_it_is_written(
    published: Published, server: Server, api: httpx2.Client, path: str
) -> None:
    job = record_job(api)

    with server.requests() as requests:
        (outcome,) = published.node(["fineTuning.listMetrics", job.id], baseURL=server.url + path)

    assert outcome["value"] == {"metrics": job.shown}
    prefix = path.rstrip("/")
    assert requests == [Request("GET", f"{prefix}/fine-tunes/{job.id}/metrics", 200)]
