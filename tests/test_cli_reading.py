"""`tunelog jobs` and `tunelog metrics` against a real server."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from typing import Protocol

import httpx2
import pytest

from tests.commands import (
    OK,
    REFUSED,
    UNREACHABLE,
    WRONG_USAGE,
    environment,
    in_terminal,
    out,
    run,
    uncoloured,
)
from tests.serving import COMMAND, PATIENCE, RecordedJob, Server, create_job, record_job
from tunelog import cli
from tunelog.backends.remote import RemoteStore

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def job(server: Server) -> RecordedJob:
    """A finished job with a history; nobody changes it."""
    with server.client() as api:
        return record_job(api, status="completed")


class Refused(Protocol):
    """Runs `tunelog` here, which must fail with a code; answers its one line on standard error."""

    def __call__(self, code: int, *arguments: str, **more: str) -> str: ...


@pytest.fixture
def refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    def refused(code: int, *arguments: str, **more: str) -> str:
        monkeypatch.setattr(os, "environ", environment(server, **more))
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert cli.run(arguments) == code
        printed, said = capsys.readouterr()
        return _one_line(printed, said)

    return refused


def _one_line(printed: str, said: str) -> str:
    assert printed == ""
    assert said.startswith("tunelog: ")
    assert said.count("\n") == 1, said
    return said


# ---------------------------------------------------------------- jobs


def test_jobs_list_shows_a_line_for_each_job(server: Server, job: RecordedJob) -> None:
    lines = out(server, "jobs", "list").splitlines()
    assert lines[0].split() == ["ID", "STATUS", "NAME", "MODEL", "CREATED"]
    line = next(line for line in lines if job.id in line)
    assert line.split()[:4] == [job.id, "completed", "my-run", "Qwen/Qwen3-0.6B"]
    assert re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", line)


def test_a_jobs_id_is_whole_in_40_columns(server: Server, job: RecordedJob) -> None:
    code, shown = in_terminal(server, 40, "jobs", "list")
    lines = uncoloured(shown)
    assert code == OK
    assert job.id in lines
    assert max(map(len, lines)) <= 40


def test_jobs_list_by_name_and_limit(server: Server, api: httpx2.Client) -> None:
    named = [create_job(api, name="sweep-7").id for _ in range(3)]
    listed = json.loads(out(server, "jobs", "list", "--name", "sweep-7", "--json"))
    assert {job["id"] for job in listed["data"]} == set(named)
    assert len(out(server, "jobs", "list", "--name", "sweep-7", "--limit", "2").splitlines()) == 3
    assert out(server, "jobs", "list", "--name", "nobody") == "no jobs\n"


def test_jobs_list_by_what_is_in_them_and_status(server: Server, api: httpx2.Client) -> None:
    held = [create_job(api, name=f"Grid-{number}", tags=["night"]).id for number in range(3)]
    api.patch(f"/v1/fine-tunes/{held[1]}", json={"status": "running"})
    api.patch(f"/v1/fine-tunes/{held[2]}", json={"status": "completed"})

    def listed(*flags: str, **variables: str) -> list[str]:
        shown = out(server, "jobs", "list", "--search", "grid-", *flags, **variables)
        return [line.split()[0] for line in shown.splitlines()[1:]]

    assert listed() == held[::-1]
    assert listed("--status", "pending,running") == [held[1], held[0]]
    assert listed(TUNELOG_STATUS="completed") == [held[2]]
    assert listed("--offset", "1", "--limit", "1") == [held[1]]
    assert listed("--offset", "3") == []
    shown = json.loads(out(server, "jobs", "list", "--search", "GRID-", "--offset", "2", "--json"))
    assert [job["id"] for job in shown["data"]] == [held[0]]


def test_json_is_what_the_api_answers(server: Server, api: httpx2.Client, job: RecordedJob) -> None:
    at = f"/v1/fine-tunes/{job.id}"
    assert out(server, "jobs", "show", job.id, "--json") == api.get(at).text
    assert out(server, "metrics", job.id, "--json") == api.get(f"{at}/metrics").text
    assert out(server, "metrics", job.id, TUNELOG_JSON="1") == api.get(f"{at}/metrics").text


def test_jobs_show_tells_what_is_known(server: Server, job: RecordedJob) -> None:
    shown = out(server, "jobs", "show", job.id)
    for words in (
        job.id,
        "completed",
        "Qwen/Qwen3-0.6B",
        "40 train and 4 eval snapshots",
        "1 not finite, first @27",
        "out/checkpoint-40",
        "training_start",
    ):
        assert words in shown


def test_jobs_show_gives_each_line_of_an_event_a_line(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    event = {"type": "output", "message": "one\ntwo\x1b[2J\nthree"}
    api.post(f"/v1/fine-tunes/{job.id}/events", json=event)
    last = out(server, "jobs", "show", job.id).splitlines()[-3:]
    assert last[0].endswith("  output  one")
    assert last[1:] == ["    two�[2J", "    three"]


def test_a_name_cannot_send_orders_to_the_terminal(server: Server, api: httpx2.Client) -> None:
    job = create_job(api, name="evil\x1b[2J\x07", model="[red]m[/red]")
    for command in (["jobs", "list"], ["jobs", "show", job.id], ["metrics", job.id]):
        shown = out(server, *command)
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[red]m[/red]" in shown


# ---------------------------------------------------------------- delete


def test_delete_asks_and_does_nothing_on_no(server: Server, api: httpx2.Client) -> None:
    job = record_job(api)
    code, shown = in_terminal(server, 80, "jobs", "delete", job.id, answer="n\n")
    assert code == REFUSED
    assert f"Delete {job.id} and its 44 snapshots?" in shown
    assert api.get(f"/v1/fine-tunes/{job.id}").status_code == 200


def test_delete_deletes_on_yes(server: Server, api: httpx2.Client) -> None:
    job = record_job(api)
    code, _ = in_terminal(server, 80, "jobs", "delete", job.id, answer="y\n")
    assert code == OK
    assert api.get(f"/v1/fine-tunes/{job.id}").status_code == 404


@pytest.mark.parametrize("flag", ["--force", "--yes", "-y"])
def test_delete_by_force_asks_nobody(server: Server, api: httpx2.Client, flag: str) -> None:
    job = create_job(api)
    done = run(server, "jobs", "delete", job.id, flag)
    assert (done.returncode, done.stdout, done.stderr) == (OK, "", f"{job.id} is deleted\n")
    assert api.get(f"/v1/fine-tunes/{job.id}").status_code == 404


def test_delete_where_nobody_can_be_asked_is_wrong_usage(
    refused: Refused, job: RecordedJob
) -> None:
    assert "--force" in refused(WRONG_USAGE, "jobs", "delete", job.id)


# ---------------------------------------------------------------- metrics


def test_metrics_draws_a_chart_for_each_metric(server: Server, job: RecordedJob) -> None:
    shown = out(server, "metrics", job.id)
    titles = [line for line in shown.splitlines() if re.match(r"\w.*  (⠒|o) ", line)]
    assert titles == [
        "loss  ⠒ train  o eval",
        "learning_rate  ⠒ train",
        "grad_norm  ⠒ train",
        "accuracy  o eval",
    ]
    assert shown.count("global_step") == 4
    assert "  train  min 0.8933 @36  max 2.699 @1  last 0.9503 @40\n" in shown
    assert "  eval   min 1.05 @40  max 1.573 @10  last 1.05 @40\n" in shown
    assert "1 not finite, first @27" in shown
    assert "  train/epoch  min 0.05 @1  max 2 @40  last 2 @40\n" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_charts_fit_the_terminal(server: Server, job: RecordedJob, columns: int) -> None:
    code, shown = in_terminal(server, columns, "metrics", job.id)
    lines = uncoloured(shown)
    assert code == OK
    assert "\x1b[" in shown
    assert max(map(len, lines)) == columns
    assert sum("└" in line for line in lines) == 4


def test_filters_are_those_of_the_api(server: Server, api: httpx2.Client, job: RecordedJob) -> None:
    parameters = {
        "global_step_from": "5",
        "global_step_to": "35",
        "logged_at_from": "2026-01-01T00:01:40+00:00",
        "logged_at_to": "2026-01-01T00:05:00.5",
        "resolution": "4",
        "sampling": "minmax",
        "attempt": "all",
        "keys": "train/grad_norm,eval/*",
        "nonfinite": "string",
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
    answer = api.get(f"/v1/fine-tunes/{job.id}/metrics", params=parameters).text
    rows = json.loads(answer)["metrics"]
    assert 2 <= sum("train/grad_norm" in row for row in rows) <= 4
    assert sum("eval/loss" in row for row in rows) == 3
    assert out(server, "metrics", job.id, "--json", *flags) == answer

    variables = {f"TUNELOG_{name.upper()}": value for name, value in parameters.items()}
    assert out(server, "metrics", job.id, "--json", **variables) == answer


def test_a_filter_holds_for_charts_and_numbers(server: Server, job: RecordedJob) -> None:
    shown = out(server, "metrics", job.id, "--global-step-from", "11", "--keys", "*/loss,*/epoch")
    assert "30 train and 3 eval snapshots" in shown
    assert "max 1.471" not in shown
    assert "epoch  ⠒ train" in shown  # drawn, because it was asked for
    assert "accuracy" not in shown


def test_metrics_as_csv(server: Server, job: RecordedJob) -> None:
    rows = list(csv.DictReader(io.StringIO(out(server, "metrics", job.id, "--csv"))))
    assert len(rows) == len(job.rows)
    assert [row["train/grad_norm"] for row in rows if row["train/global_step"] == "27"] == ["NaN"]
    assert float(rows[0]["train/loss"]) == job.rows[0]["train/loss"]


def test_a_job_without_metrics_is_no_error(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    assert "0 train and 0 eval snapshots" in out(server, "metrics", job.id)
    assert json.loads(out(server, "metrics", job.id, "--json")) == {"metrics": []}


def test_any_names_and_values_can_be_drawn(server: Server, api: httpx2.Client) -> None:
    values = {
        "train/zero": 0,
        "train/large": 1.7976931348623157e308,
        "train/small": 5e-324,
        "train/whole": 9223372036854775807,
        "train/never": "NaN",
        "train/": 1,
        "a name of more than forty columns, which no terminal has room for": 1.5,
        "损失": -1e308,
    }
    job = record_job(api, [{"train/global_step": step, **values} for step in (0, 1, 2**63 - 1)])
    for columns in ("40", "80"):
        shown = out(server, "metrics", job.id, COLUMNS=columns)
        assert shown.count("global_step") == 7
        assert "never: nothing to draw\n  train  3 not finite, first @0\n" in shown


def test_a_reader_that_has_enough_is_no_error(server: Server, api: httpx2.Client) -> None:
    rows = [{"train/global_step": step, "train/loss": 1 / (step + 1)} for step in range(20_000)]
    job = record_job(api, rows)
    process = subprocess.Popen(
        [*COMMAND, "metrics", job.id, "--csv"],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"timestamp,")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(PATIENCE) == OK


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "command", [["jobs", "show"], ["jobs", "delete", "--force"], ["metrics"], ["tail"]]
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_job_that_is_not_there(refused: Refused, command: list[str], flags: list[str]) -> None:
    flags = [] if "delete" in command else flags
    assert "no job ft-nobody" in refused(REFUSED, *command, "ft-nobody", *flags)
    assert "no job ft-a/b" in refused(REFUSED, *command, "ft-a/b", *flags)


@pytest.mark.parametrize("command", [["jobs", "list"], ["metrics", "ft-x"], ["tail", "ft-x"]])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_service_that_is_away(refused: Refused, command: list[str], flags: list[str]) -> None:
    line = refused(UNREACHABLE, *command, *flags, "--url", NOBODY)
    assert "cannot be reached" in line
    assert "TUNELOG_URL" in line


def test_errors_of_the_real_command_are_one_line_and_an_exit_code(server: Server) -> None:
    for code, arguments in (
        (REFUSED, ["metrics", "ft-nobody", "--json"]),
        (WRONG_USAGE, ["metrics", "ft-x", "--resolution", "many"]),
        (WRONG_USAGE, ["jobs", "list", "--status", "asleep"]),
        (UNREACHABLE, ["tail", "ft-x", "--url", NOBODY]),
    ):
        done = run(server, *arguments)
        assert done.returncode == code
        _one_line(done.stdout, done.stderr)


def test_a_key_that_is_wrong_or_missing(refused: Refused) -> None:
    assert "TUNELOG_API_KEY" in refused(REFUSED, "jobs", "list", "--api-key", "tl-wrong")
    assert "TUNELOG_API_KEY" in refused(WRONG_USAGE, "jobs", "list", TUNELOG_API_KEY="")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["metrics"], "JOB"),
        (["metrics", "ft-x", "--resolution", "many"], "--resolution: 'many' is not an integer"),
        (["metrics", "ft-x", "--sampling", "best"], "--sampling: 'best' is none of"),
        (["metrics", "ft-x", "--logged-at-from", "now"], "--logged-at-from: 'now' is not"),
        (["metrics", "ft-x", "--attempt", "0"], "--attempt"),
        (["metrics", "ft-x", "--nonfinite", "no"], "--nonfinite"),
        (["metrics", "ft-x", "--global-step-from", str(2**63)], "--global-step-from"),
        (["metrics", "ft-x", "--json", "--csv"], "--csv"),
        (["metrics", "ft-x", "--frobnicate"], "--frobnicate"),
        (["jobs"], "Missing command"),
        (["jobs", "list", "--limit", "0"], "--limit"),
        (["jobs", "list", "--url", "example.com"], "'example.com' is not the address"),
        (["tail", "ft-x", "--resolution", "3"], "--resolution"),
        (["dance"], "'dance'"),
    ],
)
def test_wrong_usage(refused: Refused, arguments: list[str], words: str) -> None:
    line = refused(WRONG_USAGE, *arguments)
    assert words in line
    assert "--help" in line


def test_help_fits_80_columns_and_names_every_variable(server: Server) -> None:
    assert "Exit codes:" in out(server)
    for command in (
        ["--help"],
        ["jobs", "list", "--help"],
        ["jobs", "show", "--help"],
        ["jobs", "delete", "-h"],
        ["metrics", "--help"],
        ["tail", "--help"],
        ["demo", "--help"],
    ):
        shown = out(server, *command, COLUMNS="80")
        assert max(map(len, shown.splitlines())) <= 80
        assert server.api_key not in shown
        flags = set(re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE)) - {"version"}
        variables = re.sub(r"\s+", " ", shown)
        for flag in flags:
            assert f"env var: TUNELOG_{flag.upper().replace('-', '_')}" in variables


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ["--version"], "cli"),
        ("rich", ["jobs", "list"], "cli"),
        ("plotext", ["metrics"], "cli"),
        ("numpy", ["demo"], "demo"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    server: Server, job: RecordedJob, missing: str, arguments: list[str], extra: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from tunelog.__main__ import main; main()"
    arguments = [*arguments, job.id] if "metrics" in arguments else arguments
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == WRONG_USAGE
    assert done.stderr == f'tunelog: {missing} is missing: pip install "tunelog[{extra}]"\n'


def test_a_fault_of_ours_is_one_line(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RemoteStore, "find_jobs", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError: division by zero" in refused(REFUSED, "jobs", "list")


def test_version(server: Server) -> None:
    assert re.fullmatch(r"tunelog \d+\.\d+\.\d+\n", out(server, "--version"))
