"""Together's command line client, `tg`: what a person sees of a job, piped and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.clients.published import Finished, Published
from tests.serving import BEGIN, NS, Request, Row, Server, create_job, record_job

VERSIONS = ("together-3", "together-2")
WHOAMI = Request("GET", "/v3/whoami", 200)
"""What every command asks first."""
ALMOST_TWO_HOURS = {"seconds_remaining": 7170}
"""What remains of a job that is shown as "1h 59min …" for the next half minute."""

Tg = Callable[..., Finished]


@pytest.fixture
def tg(published: Published) -> Tg:
    """The command with its output in a pipe, 110 columns wide unless said otherwise."""
    return published.tg


def job_of(api: httpx2.Client, job_id: str) -> dict[str, Any]:
    """The job as the API answers it."""
    job: dict[str, Any] = api.get(f"/v1/fine-tunes/{job_id}").json()
    return job


def shown_time(text: str) -> str:
    """A time of the API as the CLI prints it in UTC."""
    return datetime.fromisoformat(text).strftime("%m/%d/%Y, %I:%M %p")


def series_of(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """The series that the CLI draws of these rows, in its order: every metric except the epoch."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("timestamp", "train/global_step", "train/epoch"):
                series.setdefault(name, []).append((row["train/global_step"], value))
    return series


def first_to_last(points: Sequence[tuple[int, float]]) -> str:
    """A series' ends as the CLI prints them."""
    return f"{points[0][1]:.4g} → {points[-1][1]:.4g}"


def chart_titles(rows: Sequence[Row]) -> list[str]:
    """The line above each chart of `list-metrics`."""
    return [
        f"  {name}  ({points[0][0]} – {points[-1][0]})  {first_to_last(points)}"
        for name, points in series_of(rows).items()
    ]


def titles(finished: Finished) -> list[str]:
    """The lines above the charts that were drawn, each six lines high, with an axis below."""
    assert finished.exit_code == 0, finished.output
    charts = [chart.splitlines() for chart in finished.output.rstrip("\n").split("\n\n")]
    assert [["┼" in line for line in chart] for chart in charts] == [
        [False, *[True] * 6, False, False] for _ in charts
    ]
    return [chart[0] for chart in charts]


def sparklines(finished: Finished) -> dict[str, str]:
    """The ends of each metric below "Training metrics:"."""
    _, _, metrics = finished.output.partition("Training metrics:\n")
    lines = metrics.partition("\n\n")[0].splitlines()
    return {line.split()[0]: " ".join(line.split()[-3:]) for line in lines}


def details(finished: Finished) -> dict[str, str]:
    """The fields that `retrieve` prints, by name."""
    fields = re.findall(r"^(\w[\w ]*):  +(\S.*?) *$", finished.output, re.MULTILINE)
    return {name: " ".join(value.split()) for name, value in fields}


# ---------------------------------------------------------------- list


@pytest.mark.parametrize("version", VERSIONS)
def test_list_shows_every_job_with_all_its_columns(
    tg: Tg, api: httpx2.Client, version: str
) -> None:
    waiting = create_job(api, suffix="waiting")
    running = record_job(api, progress=ALMOST_TWO_HOURS)
    completed = record_job(api, status="completed")
    cancelled = create_job(api)
    api.post(f"/v1/fine-tunes/{cancelled.id}/cancel")

    finished = tg("ft", "list", columns=200, version=version)

    assert finished.exit_code == 0
    heading, *rows = finished.cells
    assert heading == ["ID", "Base Model", "Suffix", "Status", "Price", "Created At"]
    rows_by_id = {row[0]: row for row in rows}
    for job, suffix, status in (
        (waiting, "waiting", "pending"),
        (running, "my-run", "running: 1h 59min"),
        (completed, "my-run", "completed"),
        (cancelled, "", "cancelled"),
    ):
        row = rows_by_id[job.id]
        row[3] = re.sub(r" \d+s left$", "", row[3])
        created = shown_time(job_of(api, job.id)["created_at"])
        assert row == [job.id, "Qwen/Qwen3-0.6B", suffix, status, "$0.00", created]


# ---------------------------------------------------------------- retrieve


def test_retrieve_shows_a_jobs_fields_a_sparkline_a_metric_and_its_events(
    tg: Tg, server: Server, api: httpx2.Client
) -> None:
    job = record_job(api, status="completed", epochs_completed=2, model_output_name="me/my-run")
    known = job_of(api, job.id)

    with server.requests() as requests:
        finished = tg("ft", "retrieve", job.id)

    assert finished.exit_code == 0
    assert details(finished) == {
        "User Id": known["user_id"],
        "Created At": shown_time(known["created_at"]),
        "Started At": shown_time(known["started_at"]),
        "Updated At": shown_time(known["updated_at"]),
        "Id": job.id,
        "Status": "completed",
        "Model": "Qwen/Qwen3-0.6B",
        "Model Output Name": "me/my-run",
        "X Model Output Name": "me/my-run",  # the CLI says it twice
        "Suffix": "my-run",
        "Batch Size": "8",
        "N Epochs": "2",
        "Epochs Completed": "2",
        "Learning Rate": "0.0002",
        "Total Price": "0",
        "Lr Scheduler": "Lr Scheduler Type: linear",
        "Training Method": "Method: sft",
        "Training Type": "Lora Alpha: 16",
        "Progress": "Estimate Available: False",
    }
    assert sparklines(finished) == {
        name: first_to_last(points) for name, points in series_of(job.shown).items()
    }
    assert "Total events: 6" in finished.output
    at = f"/v1/fine-tunes/{job.id}"
    assert requests == [WHOAMI, Request("GET", at, 200), Request("GET", f"{at}/metrics", 200)]


def test_retrieve_of_a_job_without_snapshots_shows_no_metrics(tg: Tg, api: httpx2.Client) -> None:
    finished = tg("ft", "retrieve", create_job(api).id)

    assert finished.exit_code == 0
    assert details(finished)["Status"] == "pending"
    assert "Training metrics" not in finished.output


# ---------------------------------------------------------------- list-metrics


@pytest.mark.parametrize("version", VERSIONS)
def test_list_metrics_draws_every_metric_with_train_and_eval_apart(
    tg: Tg, api: httpx2.Client, version: str
) -> None:
    job = record_job(api)

    finished = tg("ft", "list-metrics", job.id, version=version)

    assert titles(finished) == chart_titles(job.shown)
    assert "  train/nonfinite  (27 – 27)  1 → 1" in titles(finished)


def test_list_metrics_draws_what_is_finite_of_a_run_that_diverged(
    tg: Tg, api: httpx2.Client
) -> None:
    job = record_job(
        api,
        [
            {
                "timestamp": BEGIN + step * NS,
                "train/global_step": step,
                "train/loss": "NaN",
                "train/grad_norm": "Infinity" if step > 2 else 7.5 * step,
            }
            for step in range(1, 6)
        ],
    )

    finished = tg("ft", "list-metrics", job.id)

    assert titles(finished) == [
        "  train/grad_norm  (1 – 2)  7.5 → 15",
        "  train/nonfinite  (1 – 5)  1 → 2",
    ]


def test_list_metrics_as_json_is_what_was_recorded(tg: Tg, api: httpx2.Client) -> None:
    job = record_job(api)

    finished = tg("ft", "list-metrics", job.id, "--json")

    assert (finished.exit_code, finished.json) == (0, job.shown)


@pytest.mark.parametrize(
    ("filters", "steps"),
    [
        ({"global-step-from": "3", "global-step-to": "9", "resolution": "3"}, [3, 6, 9]),
        (
            {"logged-at-from": "2026-01-01T00:06:20", "logged-at-to": "2026-01-01T00:06:30Z"},
            [38, 39],
        ),
        ({"logged-at-from": "2026-01-01", "logged-at-to": "2026-01-01T07:00:20+07:00"}, [1, 2]),
    ],
    ids=str,
)
def test_list_metrics_filters(
    tg: Tg, api: httpx2.Client, filters: Mapping[str, str], steps: list[int]
) -> None:
    job = record_job(api)
    options = [word for name, value in filters.items() for word in (f"--{name}", value)]

    finished = tg("ft", "list-metrics", job.id, "--json", *options)

    assert [row["train/global_step"] for row in finished.json] == steps


def test_list_metrics_of_a_job_without_snapshots_says_so(tg: Tg, api: httpx2.Client) -> None:
    job = create_job(api)

    finished = tg("ft", "list-metrics", job.id)

    assert (finished.exit_code, finished.output) == (0, f"No metrics found for job {job.id}\n")


# ---------------------------------------------------------------- events and checkpoints


def test_list_events_shows_all_of_them_with_their_dates(tg: Tg, api: httpx2.Client) -> None:
    job = record_job(api, status="completed")

    finished = tg("ft", "list-events", job.id, columns=160)

    events = api.get(f"/v1/fine-tunes/{job.id}/events").json()["data"]
    assert finished.exit_code == 0
    assert finished.cells == [
        ["Type", "Message", "Created At"],
        *([e["type"], e["message"], shown_time(e["created_at"])] for e in events),
    ]
    assert len(events) == 6


def test_list_checkpoints_shows_all_of_them_with_their_steps(tg: Tg, api: httpx2.Client) -> None:
    job = record_job(api)
    final = {"step": 40, "path": "out/final", "checkpoint_type": "Final"}
    api.post(f"/v1/fine-tunes/{job.id}/checkpoints", json=final)

    finished = tg("ft", "list-checkpoints", job.id, columns=240)

    checkpoints = api.get(f"/v1/fine-tunes/{job.id}/checkpoints").json()["data"]
    times = [shown_time(checkpoint["created_at"]) for checkpoint in checkpoints]
    assert finished.exit_code == 0
    assert finished.cells == [
        ["Download ID", "Timestamp", "Registry Artifact", "Type"],
        [f"{job.id}:20", times[0], "", "Intermediate"],
        [f"{job.id}:40", times[1], "", "Intermediate"],
        [job.id, times[2], "", "Final"],
    ]


# ---------------------------------------------------------------- cancel and delete


def test_cancel_asks_a_running_job_to_stop_and_refuses_to_ask_twice(
    tg: Tg, server: Server, api: httpx2.Client
) -> None:
    job = record_job(api)

    with server.requests() as requests:
        first, second = tg("ft", "cancel", job.id), tg("ft", "cancel", job.id)

    assert (first.exit_code, first.output) == (0, "+ Cancelled fine-tuning job\n")
    assert (second.exit_code, second.output) == (
        1,
        "x Training is not currently cancellable.\n  Current status is cancel_requested\n",
    )
    at = f"/v1/fine-tunes/{job.id}"
    retrieved = Request("GET", at, 200)
    assert requests == [
        *(WHOAMI, retrieved, Request("POST", f"{at}/cancel", 200)),
        *(WHOAMI, retrieved),
    ]


def test_delete_removes_a_job(tg: Tg, api: httpx2.Client) -> None:
    job = record_job(api)

    finished = tg("ft", "delete", job.id, "--force")

    assert (finished.exit_code, finished.output) == (0, "Deleted fine-tuning job\n")
    assert api.get(f"/v1/fine-tunes/{job.id}").status_code == 404


# ---------------------------------------------------------------- errors


def test_an_unknown_job_is_an_error_in_the_servers_words_asked_for_once(
    tg: Tg, server: Server, api: httpx2.Client
) -> None:
    message = api.get("/v1/fine-tunes/ft-nobody").json()["error"]["message"]

    with server.requests() as requests:
        as_text = tg("ft", "retrieve", "ft-nobody")
        as_json = tg("ft", "list-metrics", "ft-nobody", "--json")

    assert (as_text.exit_code, as_text.output) == (1, f"× Error\n  {message}\n")
    assert as_json.exit_code == 1
    assert as_json.json["error"]["message"] == message
    at = "/v1/fine-tunes/ft-nobody"
    assert requests == [
        *(WHOAMI, Request("GET", at, 404)),
        *(WHOAMI, Request("GET", f"{at}/metrics", 404)),
    ]


def test_a_wrong_key_is_an_error_in_the_servers_words(tg: Tg, api: httpx2.Client) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    message = api.get("/v1/fine-tunes", headers=wrong).json()["error"]["message"]

    with_a_project = tg("ft", "list", TOGETHER_API_KEY="wrong", TOGETHER_PROJECT_ID="default")
    without = tg("ft", "list", TOGETHER_API_KEY="wrong")

    assert (with_a_project.exit_code, with_a_project.output) == (1, f"× Error\n  {message}\n")
    assert without.exit_code == 1  # and a traceback of the CLI's own, which ends in the message
    assert message in without.errors


# ---------------------------------------------------------------- where the server is, who one is


@pytest.mark.parametrize("version", VERSIONS)
def test_a_base_url_with_v1_serves_every_version_as_one_without_does(
    tg: Tg, server: Server, api: httpx2.Client, version: str
) -> None:
    job = create_job(api)

    finished = tg("ft", "get", job.id, version=version, TOGETHER_BASE_URL=f"{server.url}/v1/")

    assert finished.exit_code == 0
    assert details(finished)["Id"] == job.id


def test_whoami_names_the_project_of_the_key(tg: Tg) -> None:
    finished = tg("whoami")

    assert finished.exit_code == 0
    assert re.search(r"^ +Project: default \(", finished.output, re.MULTILINE)


# ---------------------------------------------------------------- a terminal of 40 columns


def test_in_a_narrow_terminal_list_has_all_columns(
    published: Published, api: httpx2.Client
) -> None:
    record_job(api, progress=ALMOST_TWO_HOURS)

    finished = published.tg_in_terminal("ft", "list", columns=40)

    assert finished.exit_code == 0
    assert {len(row) for row in finished.cells} == {6}
    assert {len(line) for line in finished.output.splitlines() if line.startswith("│")} == {40}


def test_in_a_narrow_terminal_retrieve_has_progress_and_eval_metrics(
    published: Published, api: httpx2.Client
) -> None:
    """The CLI asks for -8 train snapshots there, so only eval metrics come."""
    job = record_job(api, progress=ALMOST_TWO_HOURS)

    finished = published.tg_in_terminal("ft", "retrieve", job.id, columns=40)

    assert finished.exit_code == 0
    assert re.match(r"Progress: \n█░{39}\n0% 1h 59min \d+s left\n", finished.output)
    assert details(finished)["Status"] == "running"
    evaluated = [row for row in job.shown if "eval/loss" in row]
    assert sparklines(finished) == {
        name: first_to_last(points) for name, points in series_of(evaluated).items()
    }


def test_in_a_narrow_terminal_events_and_checkpoints_are_listed(tg: Tg, api: httpx2.Client) -> None:
    job = record_job(api)

    events = tg("ft", "list-events", job.id, columns=40)
    checkpoints = tg("ft", "list-checkpoints", job.id, columns=40)

    assert (events.exit_code, len(events.cells)) == (0, 1 + 5)
    assert (checkpoints.exit_code, len(checkpoints.cells)) == (0, 1 + 2)


def test_charts_need_more_than_48_columns(tg: Tg, api: httpx2.Client) -> None:
    """A limit of the CLI's own: it draws charts 48 columns narrower than the terminal is."""
    job = record_job(api)

    narrow = tg("ft", "list-metrics", job.id, columns=40)
    wide_enough = tg("ft", "list-metrics", job.id, columns=50)

    assert (narrow.exit_code, narrow.output) == (1, "Error: list assignment index out of \nrange\n")
    assert titles(wide_enough) == chart_titles(job.shown)


def test_someone_at_a_terminal_is_asked_before_a_job_is_cancelled_or_deleted(
    published: Published, api: httpx2.Client
) -> None:
    job = record_job(api)

    kept = published.tg_in_terminal("ft", "cancel", job.id, columns=40, typed="n\n")
    status_then = job_of(api, job.id)["status"]
    cancelled = published.tg_in_terminal("ft", "cancel", job.id, columns=40, typed="y\n")
    deleted = published.tg_in_terminal("ft", "delete", job.id, columns=40, typed="y\n")

    assert (kept.exit_code, cancelled.exit_code, deleted.exit_code) == (0, 0, 0)
    assert "Cancel not submitted\n" in kept.output
    assert status_then == "running"
    assert "+ Cancelled fine-tuning job\n" in cancelled.output
    assert "Deleted fine-tuning job\n" in deleted.output
    assert api.get(f"/v1/fine-tunes/{job.id}").status_code == 404
