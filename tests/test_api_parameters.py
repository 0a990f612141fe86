"""Parameters, paths and methods that are wrong, or only look it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from tests.exchanges import connected, error_of, exchange, head, received, refused
from tests.serving import BEGIN, NS, RecordedJob, Row, Server, create_job
from tunelog.wire.listing import _STATUSES

ROWS: list[Row] = [
    {"timestamp": BEGIN + step * NS, "train/global_step": step, "train/loss": 1 / step}
    for step in range(1, 11)
]
FIRST, LAST = -(2**63), 2**63 - 1
DATES = "is not an ISO 8601 date or time such as 2026-01-31T12:00:00Z"


@pytest.fixture(scope="module")
def job(server: Server) -> RecordedJob:
    """A job with ten steps, a second apart."""
    with server.client() as api:
        made = create_job(api)
        path = f"/v1/fine-tunes/{made.id}/metrics"
        api.post(path, json={"metrics": ROWS}).raise_for_status()
        return RecordedJob(made.id, ROWS)


@pytest.fixture(autouse=True)
def unharmed(server: Server, api: httpx2.Client, at: str) -> Iterator[None]:
    """Whatever a caller asks, the server answers the next one, and the job is as it was."""
    known = len(server.log)
    yield
    assert api.get(at).json() == {"metrics": ROWS}
    assert "Traceback" not in "\n".join(server.log[known:])


@pytest.fixture
def at(job: RecordedJob) -> str:
    """The path of the job's metrics."""
    return f"/v1/fine-tunes/{job.id}/metrics"


def steps(answer: httpx2.Response) -> list[int]:
    """The steps of the rows in an answer."""
    assert answer.status_code == 200, answer.text
    return [row["train/global_step"] for row in answer.json()["metrics"]]


# ---------------------------------------------------------------- parameters

INTEGERS = ("global_step_from", "global_step_to", "resolution", "attempt")
WRONG: list[tuple[str, str, str]] = [
    *((name, "abc", "'abc' is not an integer") for name in INTEGERS if name != "attempt"),
    *((name, "7.5", "'7.5' is not an integer") for name in INTEGERS),
    *((name, "1e3", "'1e3' is not an integer") for name in INTEGERS),
    *((name, "0x10", "'0x10' is not an integer") for name in INTEGERS),
    *((name, "NaN", "'NaN' is not an integer") for name in INTEGERS),
    *((name, "٣", "'٣' is not an integer") for name in INTEGERS),
    *((name, str(LAST + 1), "beyond int64") for name in INTEGERS),
    *((name, str(FIRST - 1), "beyond int64") for name in INTEGERS),
    *((name, "9" * 5000, "beyond int64") for name in INTEGERS),
    ("attempt", "first", "'first' is not an integer"),
    ("attempt", "ALL", "'ALL' is not an integer"),
    ("attempt", "0", '"all" or a number from 1 is wanted'),
    ("attempt", "-1", '"all" or a number from 1 is wanted'),
    ("sampling", "random", "'random' is none of uniform, minmax"),
    ("sampling", "Uniform", "'Uniform' is none of uniform, minmax"),
    ("nonfinite", "skip", "'skip' is none of omit, null, string"),
    ("nonfinite", "NaN", "'NaN' is none of omit, null, string"),
    ("after", "abc", "'abc' is not a cursor of this service"),
    ("after", "-1", "'-1' is not a cursor of this service"),
    ("after", "1.0", "'1.0' is not a cursor of this service"),
    ("after", "1" * 19, f"'{'1' * 19}' is not a cursor of this service"),
    *(
        (name, value, f"{value!r} {DATES}")
        for name in ("logged_at_from", "logged_at_to")
        for value in (
            "yesterday",
            "1767225600",
            "2026",
            "2026-02-30",
            "2026-13-01",
            "2025-02-29T00:00:00Z",
            "2026-01-01T24:01:00Z",
            "2026-01-01T12:60:00Z",
            "2026-01-01T12:00:61Z",
            "2026-01-01T12:00:00+24:00",
            "2026-01-01T12:00:00+00:60",
            "2026-01-01T12:00:00.Z",
            "2026-01-01T12:00:00UTC",
            "2026-01-01 and then",
            "0000-01-01",
            "10000-01-01",
            "2026-01-01\x00",
            "٢٠٢٦-01-01",
        )
    ),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_value_that_a_parameter_does_not_take_is_refused(
    api: httpx2.Client, at: str, name: str, value: str, reason: str
) -> None:
    answer = api.get(at, params={name: value})
    refused(answer, 400, f"{name}: {reason}", name)


def test_a_very_long_value_is_shown_shortened(api: httpx2.Client, at: str) -> None:
    long = "x" * 5000
    words = {"sampling": 40, "after": 40, "resolution": 40, "logged_at_from": 60}
    for name, most in words.items():
        message = error_of(api.get(at, params={name: long}))["message"]
        assert len(message) < most + 100


@pytest.mark.parametrize(
    "name",
    [
        *INTEGERS,
        *("logged_at_from", "logged_at_to", "sampling", "nonfinite", "keys", "after"),
    ],
)
def test_a_repeated_parameter_is_refused_and_an_empty_one_is_none(
    api: httpx2.Client, at: str, name: str
) -> None:
    same = {"sampling": "uniform", "nonfinite": "omit", "keys": "train/loss"}
    value = same.get(name, "2026-01-01" if name.startswith("logged") else "1")
    message = f"{name}: given more than once"
    refused(api.get(f"{at}?{name}={value}&{name}={value}"), 400, message, name)
    refused(api.get(f"{at}?{name}=&{name}={value}"), 400, message, name)
    assert api.get(f"{at}?{name}=").json() == {"metrics": ROWS}
    assert api.get(f"{at}?{name}").json() == {"metrics": ROWS}


def test_unknown_parameters_are_ignored_repeated_or_not(api: httpx2.Client, at: str) -> None:
    assert api.get(f"{at}?colour=red&colour=blue&Resolution=abc&=x").json() == {"metrics": ROWS}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("global_step_from=3&global_step_to=5", [3, 4, 5]),
        ("global_step_from=+3&global_step_to=5.0", [3, 4, 5]),
        ("global_step_from=5&global_step_to=3", []),
        (f"global_step_from={FIRST}&global_step_to={LAST}", list(range(1, 11))),
        ("global_step_from=-5&global_step_to=1", [1]),
        ("global_step_from=000000000000000000000000000003&global_step_to=4", [3, 4]),
        (f"resolution={LAST}", list(range(1, 11))),
        ("resolution=0", []),
        ("resolution=-8", []),
        (f"resolution={FIRST}", []),
        ("resolution=1", [10]),
        ("resolution=2", [1, 10]),
        ("resolution=3.0", [1, 5, 10]),
        ("logged_at_from=2026-01-01T00:00:09Z", [9, 10]),
        ("logged_at_from=2026-01-01T00:00:09", [9, 10]),
        ("logged_at_from=2026-01-01 00:00:09", [9, 10]),
        ("logged_at_from=2026-01-01T01:00:09%2B01:00", [9, 10]),
        ("logged_at_from=2026-01-01T01:00:09+01:00", [9, 10]),  # the + decodes to a space
        ("logged_at_from=2025-12-31T17:00:09-0700", [9, 10]),
        ("logged_at_to=2026-01-01T00:00:01.999999999", [1]),
        ("logged_at_to=2026-01-01", []),
        ("logged_at_from=0001-01-01&logged_at_to=9999-12-31T23:59:59.999999999Z", [*range(1, 11)]),
        ("attempt=1", list(range(1, 11))),
        ("attempt=2", []),
        ("keys=nothing", []),
        ("keys=,%20,", list(range(1, 11))),
        ("after=999999999999999999", []),
    ],
)
def test_values_that_only_look_wrong_are_taken(
    api: httpx2.Client, at: str, parameters: str, expected: list[int]
) -> None:
    assert steps(api.get(f"{at}?{parameters}")) == expected


# ---------------------------------------------------------------- a body on the GET


def got_with(api: httpx2.Client, path: str, body: object) -> httpx2.Response:
    """The answer to a GET with a JSON body."""
    return api.request("GET", path, content=body if isinstance(body, bytes) else json.dumps(body))


def test_filters_may_come_as_a_json_body_and_the_query_wins(api: httpx2.Client, at: str) -> None:
    body: Row = {
        "global_step_from": 3,
        "global_step_to": 5.0,
        "logged_at_from": "2026-01-01T00:00:04Z",
        "logged_at_to": None,
        "resolution": "",
        "colour": ["red"],
    }
    assert steps(got_with(api, at, body)) == [4, 5]
    assert steps(got_with(api, f"{at}?global_step_to=7", body)) == [4, 5, 6, 7]
    assert steps(got_with(api, f"{at}?global_step_to=", body)) == [4, 5]
    assert steps(got_with(api, at, {"keys": ["train/*"], "attempt": 1, "resolution": 2})) == [1, 10]
    assert steps(got_with(api, at, b"  ")) == list(range(1, 11))


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        ({"resolution": "5"}, "resolution", "an integer is wanted"),
        ({"resolution": 5.5}, "resolution", "an integer is wanted"),
        ({"resolution": True}, "resolution", "an integer is wanted"),
        ({"global_step_from": 2**63}, "global_step_from", "beyond int64"),
        ({"logged_at_from": 1767225600}, "logged_at_from", "a string is wanted"),
        ({"logged_at_to": "soon"}, "logged_at_to", f"'soon' {DATES}"),
        ({"sampling": "best"}, "sampling", "'best' is none of uniform, minmax"),
        ({"keys": [1]}, "keys", "an array of strings is wanted"),
        ({"attempt": 0}, "attempt", '"all" or a number from 1 is wanted'),
    ],
)
def test_a_wrong_value_in_the_body_is_refused(
    api: httpx2.Client, at: str, body: Row, param: str, reason: str
) -> None:
    refused(got_with(api, at, body), 400, f"{param}: {reason}", param)


@pytest.mark.parametrize("body", [b"{", b"x=1", b"[]", b"1", b'{"resolution": NaN}', b"\xff"])
def test_a_body_that_is_not_a_json_object_is_a_bad_json_body(
    api: httpx2.Client, at: str, body: bytes
) -> None:
    answer = got_with(api, at, body)
    assert answer.status_code == 400
    assert error_of(answer)["message"].startswith("bad JSON body: ")


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        ({}, "jobs", "an array of job IDs is required"),
        ({"jobs": []}, "jobs", "an array of job IDs is required"),
        ({"jobs": "ft-1"}, "jobs", "an array of job IDs is required"),
        ({"jobs": [1]}, "jobs", "an array of job IDs is required"),
        ({"jobs": ["ft-1"], "resolution": "x"}, "resolution", "an integer is wanted"),
        ({"jobs": ["ft-1"], "sampling": "x"}, "sampling", "'x' is none of uniform, minmax"),
    ],
)
def test_a_wrong_value_in_a_bulk_query_is_refused(
    api: httpx2.Client, body: Row, param: str, reason: str
) -> None:
    refused(api.post("/v1/metrics/query", json=body), 400, f"{param}: {reason}", param)


@pytest.mark.parametrize(
    "param", ["after", "logged_at_from", "logged_at_to", "sampling", "nonfinite", "resolution"]
)
def test_an_empty_string_is_none_in_a_bulk_query_too(
    api: httpx2.Client, job: RecordedJob, param: str
) -> None:
    body = {"jobs": [job.id]}
    answer = api.post("/v1/metrics/query", json={**body, param: ""})
    assert answer.json() == api.post("/v1/metrics/query", json=body).json()
    assert answer.json()["jobs"][job.id]["metrics"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", str(2**31), "9" * 5000])
def test_a_limit_of_jobs_is_a_whole_number_from_1(api: httpx2.Client, limit: str) -> None:
    answer = api.get("/v1/fine-tunes", params={"limit": limit})
    refused(answer, 400, "limit: a whole number from 1 is wanted", "limit")


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", str(2**31), "٣"])
def test_an_offset_of_jobs_is_a_whole_number_from_0(api: httpx2.Client, offset: str) -> None:
    answer = api.get("/v1/fine-tunes", params={"offset": offset})
    refused(answer, 400, "offset: a whole number from 0 is wanted", "offset")


@pytest.mark.parametrize("status", ["done", "running,done", "RUNNING", "running;error", "running,"])
def test_a_status_to_list_by_is_one_that_there_is(api: httpx2.Client, status: str) -> None:
    answer = api.get("/v1/fine-tunes", params={"status": status})
    wrong = status.removeprefix("running,")
    refused(answer, 400, f"status: {wrong!r} is none of {', '.join(_STATUSES)}", "status")


def test_a_list_tells_how_many_match_and_has_a_page_of_them(api: httpx2.Client) -> None:
    path = "/v1/fine-tunes"
    made = [
        api.post(path, json={"model": "m", "suffix": "Listed", "tags": [f"t{number}"]}).json()
        for number in range(5)
    ]
    api.post(f"{path}/{made[4]['id']}/cancel")
    params = {"search": "lISTEd", "status": "pending, queued", "limit": "2", "offset": "1"}
    answer = api.get(path, params=params)
    assert answer.headers["tunelog-matched"] == "4"
    assert answer.json() == {"data": [made[2], made[1]]}
    empty = dict.fromkeys(params, "")
    assert api.get(path, params=empty).json() == api.get(path).json()
    assert api.get(path).headers["tunelog-matched"] == str(len(api.get(path).json()["data"]))


@pytest.mark.parametrize("name", ["limit", "name", "offset", "search", "status"])
def test_a_repeated_parameter_of_the_list_is_refused(api: httpx2.Client, name: str) -> None:
    answer = api.get(f"/v1/fine-tunes?{name}=1&{name}=1")
    refused(answer, 400, f"{name}: given more than once", name)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("base", ["/v1", "/v1/v1", ""])
@pytest.mark.parametrize("end", ["", "/"])
def test_every_base_and_a_trailing_slash_answer_alike(
    api: httpx2.Client, job: RecordedJob, base: str, end: str
) -> None:
    metrics = api.get(f"{base}/fine-tunes/{job.id}/metrics{end}", follow_redirects=False)
    assert metrics.json() == {"metrics": ROWS}
    assert api.get(f"{base}/fine-tunes/{job.id}{end}").json()["id"] == job.id
    assert job.id in [entry["id"] for entry in api.get(f"{base}/fine-tunes{end}").json()["data"]]
    assert api.get(f"{base}/whoami{end}").json() == api.get(f"{base}/v3/whoami{end}").json()


@pytest.mark.parametrize("base", ["/v1", "/v1/v1", ""])
@pytest.mark.parametrize("end", ["", "/"])
def test_an_empty_job_id_is_said_to_be_missing(api: httpx2.Client, base: str, end: str) -> None:
    refused(api.get(f"{base}/fine-tunes//metrics{end}"), 400, "missing job ID", "id")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/fine-tune",
        "/v1/fine-tunes/{id}/metric",
        "/v1/fine-tunes/{id}/metrics/summary/more",
        "/v1/fine-tunes/{id}//metrics",
        "/v1/fine-tunes//events",
        "/v1/v1/v1/fine-tunes",
        "/v2/fine-tunes",
        "/api/v1/fine-tunes",
        "/v1/../fine-tunes/x/y",
        "/favicon.ico",
        "/v1/fine-tunes/{id}%2Fmetrics/x",
    ],
)
def test_an_unknown_route_is_a_404_in_the_same_body(
    server: Server, job: RecordedJob, path: str
) -> None:
    target = path.format(id=job.id)
    answer = exchange(server, head(server, "GET", target))
    assert answer.status_code == 404
    error = error_of_route(answer)
    assert error["message"].startswith("there is no /")


def error_of_route(answer: httpx2.Response) -> Row:
    """The error of an unknown route."""
    error: Row = answer.json()["error"]
    refused(answer, 404, error["message"], kind="invalid_request_error")
    return error


@pytest.mark.parametrize(
    "written",
    [
        "{id}%2Fmetrics",
        "{id}%2fmetrics",
        "..%2F{id}",
        "a%2Fb%20c",
        "%2F",
        "%00",
        "%FF%FE",
        "%zz",
        "{id}%20",
        "{id}%252Fmetrics",
        "ft-☃",
        "ft-" + "x" * 5000,
    ],
)
@pytest.mark.parametrize("rest", ["", "/", "/metrics", "/events", "/metrics/summary"])
def test_an_id_with_slashes_and_escapes_is_an_unknown_job(
    server: Server, job: RecordedJob, written: str, rest: str
) -> None:
    segment = quote(written.format(id=job.id), safe="%/.-_~")
    answer = exchange(server, head(server, "GET", f"/v1/fine-tunes/{segment}{rest}"))
    assert answer.status_code == 404
    assert error_of(answer)["message"].startswith("no job ")


def test_an_id_may_be_percent_encoded(api: httpx2.Client, job: RecordedJob) -> None:
    segment = "".join(f"%{ord(letter):02X}" for letter in job.id)
    assert api.get(f"/v1/fine-tunes/{segment}/metrics").json() == {"metrics": ROWS}


@pytest.mark.parametrize("path", ["/v1/fine-tunes/\xff", "/v1/fine tunes", "*"])
def test_a_request_line_that_is_none_is_refused_in_the_same_body(server: Server, path: str) -> None:
    answer = exchange(server, head(server, "GET", path))
    assert answer.status_code in (400, 404)
    error = answer.json()["error"]
    refused(answer, answer.status_code, error["message"], kind="invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/fine-tunes", "GET, HEAD, POST"),
        ("DELETE", "/v1/fine-tunes", "GET, HEAD, POST"),
        ("POST", "/v1/fine-tunes/{id}", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/fine-tunes/{id}", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/fine-tunes/{id}/cancel", "POST"),
        ("PUT", "/v1/fine-tunes/{id}/metrics", "GET, HEAD, POST"),
        ("POST", "/v1/fine-tunes/{id}/metrics/summary", "GET, HEAD"),
        ("GET", "/v1/metrics/query", "POST"),
        ("POST", "/v1/whoami", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("TRACE", "/v1/fine-tunes", "GET, HEAD, POST"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_a_405_that_says_which_it_takes(
    api: httpx2.Client, job: RecordedJob, method: str, path: str, allowed: str
) -> None:
    answer = api.request(method, path.format(id=job.id))
    shown = path.format(id=job.id).removeprefix("/v1")
    refused(answer, 405, f"{shown} does not take {method}")
    assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allowed


@pytest.mark.parametrize("path", ["/v1/fine-tunes/{id}/metrics", "/v1/fine-tunes", "/healthz"])
def test_head_answers_as_get_without_the_body(
    api: httpx2.Client, job: RecordedJob, path: str
) -> None:
    got, asked = (getattr(api, verb)(path.format(id=job.id)) for verb in ("get", "head"))
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]


def test_head_of_a_live_tail_ends(server: Server, at: str) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "HEAD", at, "Accept: text/event-stream"))
        answer = received(connection, "HEAD")
        connection.sendall(head(server, "GET", at))  # only when the first has its whole answer
        assert received(connection).json() == {"metrics": ROWS}
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
