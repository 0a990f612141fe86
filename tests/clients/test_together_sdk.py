"""Together's Python SDK: what it is told is what was recorded, and nothing confuses it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import httpx2
import pytest

from tests.clients.published import Outcome, Published
from tests.serving import (
    BEGIN,
    DETAILS,
    NS,
    Request,
    Row,
    Server,
    create_job,
    record_job,
    training_rows,
)

Call = tuple[Any, ...]
Sdk = Callable[..., list[Outcome]]

VERSIONS = ("together-3", "together-2")


@pytest.fixture(
    params=[(version, mode) for version in VERSIONS for mode in ("sync", "async")], ids="-".join
)
def sdk(request: pytest.FixtureRequest, published: Published) -> Sdk:
    """Makes calls with one version's client, the plain or the asynchronous one."""
    version, mode = request.param

    def call(*calls: Call, **options: Any) -> list[Outcome]:
        return published.python(version, *calls, asynchronous=mode == "async", **options)

    return call


def steps(outcome: Outcome) -> list[int]:
    """The steps of the train snapshots that a client was given."""
    return [row["train/global_step"] for row in outcome["value"]["metrics"] if "train/loss" in row]


def test_every_answer_passes_the_strictest_client_and_holds_what_was_recorded(
    sdk: Sdk, api: httpx2.Client
) -> None:
    job = record_job(api, status="completed", epochs_completed=2)

    outcomes = sdk(
        ("fine_tuning.list_metrics", job.id),
        ("fine_tuning.retrieve", job.id),
        ("fine_tuning.list_events", job.id),
        ("fine_tuning.list_checkpoints", job.id),
        ("whoami",),
        _strict_response_validation=True,
    )

    assert [outcome.get("error") for outcome in outcomes] == [None] * 5
    metrics, retrieved, events, checkpoints, whoami = (o["value"] for o in outcomes)
    assert metrics == {"metrics": job.shown}
    expected = {"id": job.id, "status": "completed", "epochs_completed": 2, **DETAILS}
    assert {name: retrieved[name] for name in expected} == expected
    assert [(event["type"], event["message"]) for event in events["data"]] == [
        ("job_pending", "The job is registered and waits to start."),
        ("training_start", "Training started"),
        ("job_start", "The job is running."),
        ("checkpoint_save", "Saved step 20"),
        ("checkpoint_save", "Saved step 40"),
        ("job_complete", "The job is complete."),
    ]
    assert retrieved["events"] == events["data"]
    assert [(found["step"], found["path"]) for found in checkpoints["data"]] == [
        (20, "out/checkpoint-20"),
        (40, "out/checkpoint-40"),
    ]
    assert (whoami["project_name"], whoami["project"]["name"]) == ("default", "default")


@pytest.mark.parametrize("version", VERSIONS)
def test_list_has_every_job_of_the_project(
    published: Published, fresh_server: Server, version: str
) -> None:
    with fresh_server.client() as api:
        statuses = {
            create_job(api).id: "pending",
            record_job(api, progress={"seconds_remaining": 60}).id: "running",
            record_job(api, status="completed").id: "completed",
        }

    (outcome,) = published.python(
        version,
        ("fine_tuning.list",),
        base_url=fresh_server.url,
        api_key=fresh_server.api_key,
        _strict_response_validation=True,
    )

    assert {job["id"]: job["status"] for job in outcome["value"]["data"]} == statuses


def test_a_job_without_snapshots_has_an_empty_list_of_metrics(sdk: Sdk, api: httpx2.Client) -> None:
    job = create_job(api)

    (outcome,) = sdk(("fine_tuning.list_metrics", job.id), _strict_response_validation=True)

    assert outcome["value"] == {"metrics": []}


MOMENT = datetime(2026, 1, 1, 0, 1, 40, 123456, tzinfo=UTC)
"""When step 10 of `rows_around_a_moment` was logged."""


def rows_around_a_moment() -> list[Row]:
    """A row a microsecond before the moment, one at it and one a microsecond after it."""
    at = BEGIN + 100 * NS + 123_456_000
    return [
        {"timestamp": at + offset, "train/global_step": step, "train/loss": 1.0}
        for offset, step in ((-1000, 9), (0, 10), (1000, 11))
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_moment_means_the_same_in_every_form_a_caller_may_write(
    published: Published, api: httpx2.Client, version: str
) -> None:
    job = record_job(api, rows_around_a_moment())
    forms = (
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=-7))),
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        MOMENT.replace(tzinfo=None),
        "2026-01-01T00:01:40.123456Z",
        "2026-01-01T00:01:40.123456+00:00",
        "2026-01-01T05:31:40.123456+05:30",
        "2026-01-01T00:01:40.123456",
    )

    outcomes = published.python(
        version,
        *(("fine_tuning.list_metrics", job.id, {"logged_at_from": form}) for form in forms),
        *(("fine_tuning.list_metrics", job.id, {"logged_at_to": form}) for form in forms),
    )

    assert [steps(outcome) for outcome in outcomes] == [[10, 11]] * 8 + [[9, 10]] * 8


def test_filters_are_inclusive_and_sampling_keeps_both_ends(sdk: Sdk, api: httpx2.Client) -> None:
    job = record_job(api)
    evaluated = [row["train/global_step"] for row in training_rows() if "eval/loss" in row]

    def list_metrics(**filters: Any) -> Call:
        return "fine_tuning.list_metrics", job.id, filters

    by_step, by_day, on_a_day, after, sampled, last, none, reversed_range = sdk(
        list_metrics(global_step_from=5.0, global_step_to=8),
        list_metrics(logged_at_from=date(2026, 1, 1), logged_at_to=date(2026, 1, 2)),
        list_metrics(logged_at_to="2026-01-01"),
        list_metrics(logged_at_from=datetime(2026, 1, 1, 0, 6), global_step_to=2**63 - 1),
        list_metrics(resolution=5),
        list_metrics(global_step_from=3, global_step_to=9, resolution=1),
        list_metrics(resolution=-8),
        list_metrics(global_step_from=9, global_step_to=3),
    )

    assert steps(by_step) == [5, 6, 7, 8]
    assert by_day["value"]["metrics"] == job.shown
    assert on_a_day["value"]["metrics"] == []
    assert steps(after) == [36, 37, 38, 39, 40]
    assert steps(sampled) == [1, 10, 20, 30, 40]
    assert [r["train/global_step"] for r in sampled["value"]["metrics"] if "eval/loss" in r] == (
        evaluated
    )
    assert steps(last) == [9]
    assert [row["train/global_step"] for row in none["value"]["metrics"]] == evaluated
    assert reversed_range["value"]["metrics"] == []


def test_cancel_asks_a_running_job_to_stop_and_delete_removes_it(
    sdk: Sdk, server: Server, api: httpx2.Client
) -> None:
    running, waiting = record_job(api), create_job(api)

    with server.requests() as requests:
        asked, cancelled, deleted, gone = sdk(
            ("fine_tuning.cancel", running.id),
            ("fine_tuning.cancel", waiting.id),
            ("fine_tuning.delete", running.id),
            ("fine_tuning.retrieve", running.id),
        )

    assert (asked["value"]["id"], asked["value"]["status"]) == (running.id, "cancel_requested")
    assert (cancelled["value"]["id"], cancelled["value"]["status"]) == (waiting.id, "cancelled")
    assert running.id in deleted["value"]["message"]
    assert (gone["error"], gone["status"]) == ("NotFoundError", 404)
    assert [(request.method, request.status) for request in requests] == [
        ("POST", 200),
        ("POST", 200),
        ("DELETE", 200),
        ("GET", 404),
    ]


def test_an_error_has_its_class_and_the_servers_words_and_is_not_tried_again(
    sdk: Sdk, server: Server, api: httpx2.Client
) -> None:
    job = record_job(api, status="completed")
    calls = (
        (("fine_tuning.list_metrics", "ft-nobody"), 404, "NotFoundError"),
        (("fine_tuning.retrieve", "ft-a/b c"), 404, "NotFoundError"),
        (("fine_tuning.list_events", "ft-nobody"), 404, "NotFoundError"),
        (("fine_tuning.list_checkpoints", "ft-nobody"), 404, "NotFoundError"),
        (("fine_tuning.cancel", "ft-nobody"), 404, "NotFoundError"),
        (("fine_tuning.delete", "ft-nobody"), 404, "NotFoundError"),
        (("fine_tuning.list_metrics", job.id, {"resolution": "abc"}), 400, "BadRequestError"),
        (("fine_tuning.list_metrics", job.id, {"logged_at_to": "soon"}), 400, "BadRequestError"),
        (("fine_tuning.cancel", job.id), 409, "ConflictError"),
    )

    with server.requests() as requests:
        outcomes = sdk(*(call for call, _, _ in calls))

    assert [(outcome["status"], outcome["error"]) for outcome in outcomes] == [
        (status, name) for _, status, name in calls
    ]
    assert [request.status for request in requests] == [status for _, status, _ in calls]
    for outcome in outcomes:
        assert_error_body(outcome)


def test_a_wrong_key_is_an_authentication_error_and_is_not_tried_again(
    sdk: Sdk, server: Server
) -> None:
    with server.requests() as requests:
        (outcome,) = sdk(("fine_tuning.list",), api_key="wrong")

    assert (outcome["status"], outcome["error"]) == (401, "AuthenticationError")
    assert_error_body(outcome)
    assert [request.status for request in requests] == [401]


def assert_error_body(outcome: Outcome) -> None:
    """The one error body of sdk-contract 4, and the client shows its message."""
    body = outcome["body"]
    message = body["message"]
    assert message in outcome["message"]
    assert body["error"]["message"] == message
    assert body["error"]["type"]
    assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_one_base_url_serves_every_version_however_it_is_written(
    published: Published, server: Server, api: httpx2.Client, version: str, path: str
) -> None:
    job = record_job(api)

    metrics, whoami, missing = published.python(
        version,
        ("fine_tuning.list_metrics", job.id),
        ("whoami",),
        ("fine_tuning.retrieve", "ft-nobody"),
        base_url=server.url + path,
    )

    assert metrics["value"] == {"metrics": job.shown}
    assert "error" not in whoami
    assert missing["status"] == 404
    assert_error_body(missing)


def test_requests_and_log_lines_are_one_to_one(
    published: Published, server: Server, api: httpx2.Client
) -> None:
    job = create_job(api)

    with server.requests() as requests:
        published.python(
            "together-3", ("fine_tuning.retrieve", job.id), ("fine_tuning.list_metrics", job.id)
        )

    assert requests == [
        Request("GET", f"/v1/fine-tunes/{job.id}", 200),
        Request("GET", f"/v1/fine-tunes/{job.id}/metrics", 200),
    ]
