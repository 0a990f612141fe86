"""Reading over HTTP: every format, filter and sampling gives what was logged."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import pyarrow.parquet
import pytest

from tests.exchanges import refused
from tests.serving import BEGIN, NS, RecordedJob, Row, Server, create_job, training_rows
from tunelog import downsample

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
UNUSUAL: list[Row] = [
    {
        "timestamp": BEGIN + 1000 * NS + 1,
        "train/global_step": 41,
        "train/loss": "Infinity",
        "train/grad_norm": "-Infinity",
        "train/tokens": 2**62,
        "train/rate": 2**60 + 1,
    },
    {
        "timestamp": BEGIN + 1000 * NS + 2,
        "train/global_step": 42,
        "train/loss": 5e-324,
        "train/rate": 0.1,
        'odd, "name"\u2028é': -0.0,
    },
    {"timestamp": BEGIN + 1000 * NS + 3, "train/global_step": 42},
    {"timestamp": BEGIN + 1000 * NS + 4, "train/global_step": 42, "eval/loss": "NaN"},
]
ROWS = [*training_rows(), *UNUSUAL]
KEYS = list(dict.fromkeys(key for row in ROWS for key in row))


def record(api: httpx2.Client, rows: Sequence[Row], **fields: Any) -> RecordedJob:
    """A new job with these rows, posted as one batch."""
    job = create_job(api)
    append(api, job, rows, **fields)
    return RecordedJob(job.id, list(rows))


def append(api: httpx2.Client, job: RecordedJob, rows: Sequence[Row], **fields: Any) -> None:
    answer = api.post(at(job), json={"metrics": rows, **fields})
    assert answer.status_code == 200, answer.text


def at(job: RecordedJob) -> str:
    """The path of a job's metrics."""
    return f"/v1/fine-tunes/{job.id}/metrics"


def read(api: httpx2.Client, job: RecordedJob, **parameters: str | int) -> list[Row]:
    """The rows of an answer in JSON, which says itself how many they are."""
    answer = api.get(at(job), params=parameters)
    assert answer.status_code == 200, answer.text
    rows: list[Row] = answer.json()["metrics"]
    assert answer.headers["tunelog-returned"] == str(len(rows))
    return rows


def steps(rows: Sequence[Row]) -> list[int]:
    return [row["train/global_step"] for row in rows]


def moment(ns: int) -> str:
    """A time to the nanosecond, as a client writes it."""
    return f"{datetime.fromtimestamp(ns // NS, UTC):%Y-%m-%dT%H:%M:%S}.{ns % NS:09d}Z"


@pytest.fixture(scope="module")
def job(server: Server) -> RecordedJob:
    """A job with every kind of value; nobody changes it."""
    with server.client() as api:
        return record(api, ROWS)


# ---------------------------------------------------------------- formats


def from_json(answer: httpx2.Response) -> list[Row]:
    rows: list[Row] = answer.json()["metrics"]
    return rows


def from_ndjson(answer: httpx2.Response) -> list[Row]:
    assert answer.text.endswith("}\n")
    return [json.loads(line) for line in answer.text[:-1].split("\n")]


def from_csv(answer: httpx2.Response) -> list[Row]:
    lines = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert lines[0] == KEYS
    return [
        {name: cell for name, cell in zip(KEYS, line, strict=True) if cell != ""}
        for line in lines[1:]
    ]


def from_parquet(answer: httpx2.Response) -> list[Row]:
    table = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert table.column_names == KEYS
    return [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]


def texts(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Rows with each value as Python writes it, so that NaN equals NaN and 7 is not 7.0."""
    return [{key: str(NUMBERS.get(str(v), v)) for key, v in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("accept", "media_type", "rows_of"),
    [
        ("application/json", "application/json", from_json),
        ("*/*", "application/json", from_json),
        ("image/png", "application/json", from_json),
        ("application/x-ndjson", "application/x-ndjson", from_ndjson),
        ("text/csv", "text/csv; charset=utf-8", from_csv),
        ("text/*;q=0.9, application/json;q=0.1", "text/csv; charset=utf-8", from_csv),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet", from_parquet),
    ],
)
def test_every_format_gives_the_same_rows_exactly(
    api: httpx2.Client,
    job: RecordedJob,
    accept: str,
    media_type: str,
    rows_of: Callable[[httpx2.Response], list[Row]],
) -> None:
    answer = api.get(at(job), params={"nonfinite": "string"}, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["tunelog-matched"] == answer.headers["tunelog-returned"] == str(len(ROWS))
    assert texts(rows_of(answer)) == texts(ROWS)


def test_columns_of_a_parquet_file_are_of_the_narrowest_exact_type(
    api: httpx2.Client, job: RecordedJob
) -> None:
    answer = api.get(at(job), headers={"Accept": "application/vnd.apache.parquet"})
    schema = pyarrow.parquet.read_schema(io.BytesIO(answer.content))
    kinds = {name: str(schema.field(name).type) for name in schema.names}
    expected = dict.fromkeys(KEYS, "double")
    expected |= dict.fromkeys(("timestamp", "train/global_step", "train/tokens"), "int64")
    assert kinds == {**expected, "train/rate": "string"}  # 2**60 + 1 and 0.1


def test_rows_keep_the_order_of_their_keys_and_the_kinds_of_their_numbers(
    api: httpx2.Client,
) -> None:
    row = '{"timestamp":5,"train/global_step":7,"z":1,"a":1.0,"train/b":-0.0,"m":1e-7,"n":1e22}'
    shuffled = (
        '{"z":1,"train/global_step":7.0,"a":1.0,"train/b":-0.0,"timestamp":5,"m":1e-7,"n":1e22}'
    )
    made = create_job(api)
    assert api.post(at(made), content=f'{{"metrics": [{shuffled}]}}').status_code == 200
    assert api.get(at(made)).text == f'{{"metrics":[{row}]}}'


@pytest.mark.parametrize("media_type", ["text/csv", "application/vnd.apache.parquet"])
@pytest.mark.parametrize("nonfinite", ["omit", "null"])
def test_csv_and_parquet_are_exact_whatever_is_asked(
    api: httpx2.Client, job: RecordedJob, media_type: str, nonfinite: str
) -> None:
    headers = {"Accept": media_type}
    asked = api.get(at(job), params={"nonfinite": nonfinite}, headers=headers)
    plain = api.get(at(job), params={"nonfinite": "string"}, headers=headers)
    assert asked.content == plain.content


def test_an_empty_job_is_empty_in_every_format(api: httpx2.Client) -> None:
    empty = create_job(api)
    bodies = {
        "application/json": b'{"metrics":[]}',
        "application/x-ndjson": b"",
        "text/csv": b"timestamp,train/global_step\r\n",
    }
    for media_type, body in bodies.items():
        answer = api.get(at(empty), headers={"Accept": media_type})
        assert (answer.status_code, answer.content) == (200, body)
    answer = api.get(at(empty), headers={"Accept": "application/vnd.apache.parquet"})
    table = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert (table.column_names, table.num_rows) == (["timestamp", "train/global_step"], 0)


# ---------------------------------------------------------------- non-finite values


def test_a_value_that_json_has_no_word_for_is_left_out_and_counted(
    api: httpx2.Client, job: RecordedJob
) -> None:
    assert read(api, job) == read(api, job, nonfinite="omit") == job.shown
    assert [row["train/nonfinite"] for row in read(api, job) if "train/nonfinite" in row] == [1, 2]
    last = {"timestamp": BEGIN + 1000 * NS + 4, "train/global_step": 42, "eval/nonfinite": 1}
    assert read(api, job)[-1] == last


def test_a_value_that_json_has_no_word_for_is_null_or_a_string_if_asked(
    api: httpx2.Client, job: RecordedJob
) -> None:
    nulls = [{k: None if isinstance(v, str) else v for k, v in row.items()} for row in ROWS]
    assert read(api, job, nonfinite="null") == nulls
    assert read(api, job, nonfinite="string") == ROWS


def test_the_count_is_over_the_keys_that_are_shown(api: httpx2.Client, job: RecordedJob) -> None:
    base = {"timestamp": BEGIN + 1000 * NS + 1, "train/global_step": 41}
    for keys, shown in (
        ("train/loss", {"train/nonfinite": 1}),
        ("train/loss,train/grad_norm", {"train/nonfinite": 2}),
        ("train/tokens", {"train/tokens": 2**62}),
    ):
        rows = read(api, job, keys=keys, global_step_from=41, global_step_to=41)
        assert rows == [{**base, **shown}]


def test_an_eval_row_stays_one_however_often_what_was_read_is_posted_again(
    api: httpx2.Client,
) -> None:
    row = {"timestamp": 3, "train/global_step": 2, "eval/loss": "NaN", "z": 1}
    base = {"timestamp": 3, "train/global_step": 2, "z": 1}
    for expected in ({**base, "eval/nonfinite": 1}, *[{**base, "eval/nonfinite": 0}] * 2):
        job = record(api, [row])
        assert read(api, job, resolution=0) == [expected]
        (row,) = read(api, job)
    assert read(api, job, nonfinite="string") == [row]
    values = api.get(f"{at(job)}/summary").json()
    assert (values["snapshots"], list(values["metrics"])) == ({"train": 0, "eval": 1}, ["z"])


@pytest.mark.parametrize("count", [3, None, "abc", True, {}, -1.5])
def test_a_count_of_what_was_left_out_is_ignored_whatever_it_is(
    api: httpx2.Client, count: Any
) -> None:
    row = {"timestamp": 3, "train/global_step": 2, "train/loss": 0.5}
    job = record(api, [{**row, "train/nonfinite": count}])
    assert read(api, job) == [row]


@pytest.mark.parametrize("nonfinite", ["omit", "string"])
@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_rows_that_were_read_can_be_posted_as_they_are(
    api: httpx2.Client, job: RecordedJob, nonfinite: str, media_type: str
) -> None:
    answer = api.get(at(job), params={"nonfinite": nonfinite}, headers={"Accept": media_type})
    copy = create_job(api)
    posted = api.post(at(copy), content=answer.content, headers={"Content-Type": media_type})
    assert posted.json() == {"stored": len(ROWS), "duplicates": 0, "status": "running"}
    counts = {"train/nonfinite", "eval/nonfinite"} if nonfinite == "omit" else set()
    expected = [
        {k: v for k, v in row.items() if k not in counts}
        for row in read(api, job, nonfinite=nonfinite)
    ]
    if nonfinite == "omit":
        expected[-1]["eval/nonfinite"] = 0  # or nothing would say that it is of eval
    assert read(api, copy, nonfinite=nonfinite) == expected


# ---------------------------------------------------------------- filters


def test_times_are_compared_in_nanoseconds(api: httpx2.Client) -> None:
    begin = BEGIN + 123_456_789 * NS + 999_999_990
    job = record(
        api, [{"timestamp": begin + i, "train/global_step": i, "train/x": i} for i in range(20)]
    )
    for low, high in ((0, 19), (3, 3), (3, 12), (9, 10), (10, 11), (12, 3)):
        window = {
            "logged_at_from": moment(begin + low),
            "logged_at_to": moment(begin + high),
        }
        assert steps(read(api, job, **window)) == list(range(low, high + 1))
    half = moment(begin + 5)[:-1] + "5Z"  # half a nanosecond later
    assert steps(read(api, job, logged_at_from=half)) == list(range(6, 20))
    assert steps(read(api, job, logged_at_to=half)) == list(range(6))


def test_filters_are_combined_and_sampling_comes_after_them(
    api: httpx2.Client, job: RecordedJob
) -> None:
    window: dict[str, str | int] = {
        "global_step_from": 5,
        "logged_at_to": moment(BEGIN + 300 * NS),
    }
    matching = [
        row
        for row in job.shown
        if row["train/global_step"] >= 5 and row["timestamp"] <= BEGIN + 300 * NS
    ]
    assert read(api, job, **window) == matching
    trained = [row for row in matching if "train/loss" in row]
    picks = [trained[i * (len(trained) - 1) // 6] for i in range(7)]
    expected = [row for row in matching if row in picks or "eval/loss" in row]
    answer = api.get(at(job), params={**window, "resolution": 7})
    assert answer.json()["metrics"] == expected
    assert answer.headers["tunelog-matched"] == str(len(matching))
    assert answer.headers["tunelog-returned"] == str(len(expected))


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("train/loss", {"train/loss"}),
        ("train/loss,eval/loss", {"train/loss", "eval/loss"}),
        (" train/loss , ,eval/loss,", {"train/loss", "eval/loss"}),
        ("eval/*", {"eval/loss", "eval/accuracy"}),
        ("*/loss", {"train/loss", "eval/loss"}),
        ("train/[lg]*", {"train/loss", "train/learning_rate", "train/grad_norm"}),
        ("eval/los?", {"eval/loss"}),
        ("loss", set()),
    ],
)
def test_keys_are_names_and_globs_and_a_row_without_any_does_not_match(
    api: httpx2.Client, job: RecordedJob, keys: str, shown: set[str]
) -> None:
    base = {"timestamp", "train/global_step"}
    expected = [
        {key: value for key, value in row.items() if key in base | shown}
        for row in ROWS
        if shown & row.keys()
    ]
    assert read(api, job, keys=keys, nonfinite="string") == expected


def test_minmax_keeps_the_spikes_of_the_keys_that_are_asked_for(api: httpx2.Client) -> None:
    rows: list[Row] = [
        {
            "timestamp": BEGIN + i,
            "train/global_step": i,
            "train/loss": 50.0 if i == 333 else 1 + 1 / (i + 1),
            "train/lr": -1.0 if i == 617 else 0.5,
        }
        for i in range(1000)
    ]
    evaluated = {"timestamp": BEGIN + 500, "train/global_step": 500, "eval/loss": 2.0}
    job = record(api, [*rows, evaluated])
    found = read(api, job, sampling="minmax", resolution=50)
    picks = downsample.minmax(rows, ["train/loss", "train/lr"], 1000, 50)
    assert found == sorted([*(rows[i] for i in picks), evaluated], key=lambda row: row["timestamp"])
    assert len(picks) <= 50
    assert {0, 333, 617, 999} <= set(picks)
    only = read(api, job, sampling="minmax", resolution=50, keys="train/lr")
    assert steps(only) == [*downsample.minmax(rows, ["train/lr"], 1000, 50)]


def test_a_cursor_gives_what_arrived_since_in_the_order_logged(api: httpx2.Client) -> None:
    job = record(api, training_rows(10, nan_at=None))
    first = api.get(at(job), params={"global_step_to": 3})
    after = first.headers["tunelog-cursor"]
    assert read(api, job, after=after) == []
    late = [
        {"timestamp": BEGIN + place * NS, "train/global_step": 3, "train/loss": place}
        for place in (500, 5, 50)
    ]
    append(api, job, late)
    assert read(api, job, after=after) == [late[1], late[2], late[0]]
    answer = api.get(at(job), params={"after": after, "logged_at_to": moment(BEGIN + 60 * NS)})
    assert answer.json()["metrics"] == [late[1], late[2]]
    assert answer.headers["tunelog-matched"] == "2"
    assert read(api, job, after=answer.headers["tunelog-cursor"]) == []


def test_a_restart_supersedes_and_every_attempt_can_be_asked_for(api: httpx2.Client) -> None:
    def logged(attempt: int, first: int, last: int) -> list[Row]:
        return [
            {
                "timestamp": BEGIN + attempt * 1000 * NS + step * NS,
                "train/global_step": step,
                "train/loss": attempt + step / 100,
            }
            for step in range(first, last + 1)
        ]

    one, two = logged(1, 1, 8), logged(2, 6, 10)
    job = record(api, one)
    opened = api.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 6})
    assert opened.json() == {"attempt": 2, "from_step": 6}
    assert read(api, job) == one[:5]
    append(api, job, two)
    assert read(api, job) == one[:5] + two
    assert read(api, job, attempt=1) == one
    assert read(api, job, attempt=2) == two
    assert read(api, job, attempt="all") == one + two
    assert read(api, job, attempt=3) == []
    assert steps(read(api, job, resolution=4)) == [1, 4, 7, 10]


# ---------------------------------------------------------------- many jobs


def test_many_jobs_are_read_in_one_call(api: httpx2.Client, job: RecordedJob) -> None:
    other = record(api, training_rows(12, nan_at=5))
    query: dict[str, str | int] = {
        "global_step_from": 2,
        "resolution": 3,
        "keys": "*/loss",
        "logged_at_from": moment(BEGIN),
        "nonfinite": "null",
    }
    ids = [job.id, "ft-nobody", other.id, job.id]
    answer = api.post("/v1/metrics/query", json={"jobs": ids, **query, "keys": ["*/loss"]})
    missing = {
        "message": "no job ft-nobody",
        "type": "not_found_error",
        "param": None,
        "code": None,
    }
    assert answer.json() == {
        "jobs": {
            job.id: told(api.get(at(job), params=query)),
            "ft-nobody": {"error": missing, "message": "no job ft-nobody"},
            other.id: told(api.get(at(other), params=query)),
        }
    }
    assert list(answer.json()["jobs"]) == [job.id, "ft-nobody", other.id]
    refused(api.get("/v1/fine-tunes/ft-nobody/metrics"), 404, "no job ft-nobody")


def told(answer: httpx2.Response) -> dict[str, Any]:
    """A single answer, with what its headers say, as many jobs at once have it."""
    return {
        **answer.json(),
        "matched": int(answer.headers["Tunelog-Matched"]),
        "returned": int(answer.headers["Tunelog-Returned"]),
        "cursor": answer.headers["Tunelog-Cursor"],
    }


# ---------------------------------------------------------------- progress


def test_what_remains_is_told_as_the_length_of_the_stage(api: httpx2.Client) -> None:
    """The published clients take it for the seconds from `started_at` on (sdk-contract 7)."""

    started = create_job(api)

    def progress(remaining: int | None) -> tuple[dict[str, Any], int]:
        body = {"progress": {"seconds_remaining": remaining}}
        changed = api.patch(f"/v1/fine-tunes/{started.id}", json=body).json()
        assert api.get(f"/v1/fine-tunes/{started.id}").json()["progress"] == changed["progress"]
        begin = changed.get("started_at", changed["created_at"])
        elapsed = datetime.fromisoformat(changed["updated_at"]) - datetime.fromisoformat(begin)
        return changed["progress"], math.ceil(elapsed.total_seconds() + (remaining or 0))

    unknown = {"estimate_available": False, "seconds_remaining": 0}
    assert api.get(f"/v1/fine-tunes/{started.id}").json()["progress"] == unknown
    found, whole = progress(600)
    assert found == {"estimate_available": True, "seconds_remaining": whole}
    append(api, started, training_rows(3))
    found, whole = progress(90)
    assert found == {"estimate_available": True, "seconds_remaining": whole}
    assert progress(None)[0] == unknown
    progress(60)
    api.patch(f"/v1/fine-tunes/{started.id}", json={"status": "completed"})
    assert api.get(f"/v1/fine-tunes/{started.id}").json()["progress"] == unknown
