"""What a caller gets wrong: one clear error in the one body, and nothing is stored by halves."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import zstandard

from tests.exchanges import connected, error_of, exchange, head, received, refused
from tests.serving import Row, Server, create_job

GOOD: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}
BODY = json.dumps({"metrics": [GOOD]}).encode()
GZIPPED = gzip.compress(BODY, mtime=0)  # the same in every process that collects tests


@pytest.fixture(scope="module")
def job(server: Server) -> str:
    """A job that holds one row."""
    with server.client() as api:
        made = create_job(api).id
        api.post(f"/v1/fine-tunes/{made}/metrics", content=BODY).raise_for_status()
        return made


@pytest.fixture(autouse=True)
def unharmed(server: Server, api: httpx2.Client, job: str) -> Iterator[None]:
    """Whatever a caller does, the server answers the next one, and the job is as it was."""
    known = len(server.log)
    yield
    assert api.get(f"/v1/fine-tunes/{job}/metrics").json() == {"metrics": [GOOD]}
    assert "Traceback" not in "\n".join(server.log[known:])


@pytest.fixture
def at(job: str) -> str:
    """The path of the job's metrics."""
    return f"/v1/fine-tunes/{job}/metrics"


# ---------------------------------------------------------------- bodies that are not JSON


@pytest.mark.parametrize("body", [b"", b" ", b"loss=0.5", b'{"metrics": [', b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(api: httpx2.Client, at: str, body: bytes) -> None:
    assert bad_json(api.post(at, content=body)).startswith("bad JSON body: ")


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (b"[]", "bad JSON body: an array where an object belongs", None),
        (b"null", "bad JSON body: null where an object belongs", None),
        (b'"x"', "bad JSON body: the string 'x' where an object belongs", None),
        (b"{}", "metrics: an array of rows is required", "metrics"),
        (b'{"metrics": {}}', "metrics: an array of rows is required", "metrics"),
        (b'{"metrics": [1]}', "row 0: the number 1 where an object belongs", None),
    ],
)
def test_a_body_that_is_no_batch_is_refused(
    api: httpx2.Client, at: str, body: bytes, message: str, param: str | None
) -> None:
    refused(api.post(at, content=body), 400, message, param)


def bad_json(answer: httpx2.Response) -> str:
    """The words of a 400 about a body that is not JSON."""
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["param"], "bad JSON body: " in error["message"]) == (None, True)
    return str(error["message"])


def test_a_body_that_is_not_utf_8_is_refused(api: httpx2.Client, at: str) -> None:
    bad_json(api.post(at, content=b'{"metrics": [{"\xff": 1}]}'))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/fine-tunes"),
        ("PATCH", "/v1/fine-tunes/{job}"),
        ("POST", "/v1/fine-tunes/{job}/attempts"),
        ("POST", "/v1/fine-tunes/{job}/events"),
        ("POST", "/v1/fine-tunes/{job}/checkpoints"),
        ("POST", "/v1/metrics/query"),
        ("GET", "/v1/fine-tunes/{job}/metrics"),
    ],
)
def test_every_operation_that_takes_json_refuses_what_is_none(
    api: httpx2.Client, job: str, method: str, path: str
) -> None:
    bad_json(api.request(method, path.format(job=job), content=b"{"))
    answer = api.request(method, path.format(job=job), content=b"[1]")
    refused(answer, 400, "bad JSON body: an array where an object belongs")


def test_an_ndjson_line_that_is_not_json_is_named_by_its_row(api: httpx2.Client, at: str) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    lines = json.dumps(GOOD).encode() + b"\n\n{\n"
    answer = api.post(at, content=lines, headers=headers)
    assert bad_json(answer).startswith("row 1: bad JSON body: ")


# ---------------------------------------------------------------- compressed bodies


def damaged(packed: bytes, place: int) -> bytes:
    """The bytes with one of them changed."""
    wrong = bytearray(packed)
    wrong[place] ^= 0xFF
    return bytes(wrong)


ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(BODY)


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", BODY, "the body is not gzip: Error -3 while decompressing data: incorrect header"),
        ("gzip", zlib.compress(BODY), "the body is not gzip: "),
        ("gzip", damaged(GZIPPED, -8), "incorrect data check"),
        ("gzip", damaged(GZIPPED, -1), "incorrect length check"),
        ("gzip", GZIPPED[:-1], "the gzip body is cut short"),
        ("gzip", GZIPPED[:20], "the gzip body is cut short"),
        ("gzip", GZIPPED + b"more", "the body is not gzip: "),
        ("zstd", BODY, "the body is not zstd: "),
        ("zstd", damaged(ZSTD, -1), "Restored data doesn't match checksum"),
        ("zstd", ZSTD[:-1], "the zstd body is cut short"),
        ("zstd", ZSTD[:6], "the zstd body is cut short"),
        ("zstd", ZSTD + b"more", "the body is not zstd: "),
        ("br", BODY, "'br' is none of gzip, zstd, identity"),
        ("gzip, zstd", BODY, "'gzip, zstd' is none of gzip, zstd, identity"),
    ],
)
def test_a_compressed_body_that_is_damaged_or_unknown_is_refused(
    api: httpx2.Client, at: str, encoding: str, body: bytes, message: str
) -> None:
    answer = api.post(at, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["message"].startswith("Content-Encoding: ")
    assert message in error["message"]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("zstd", zstandard.compress),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_may_come_in_several_members(
    api: httpx2.Client, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(BODY[:20]) + pack(BODY[20:])
    path = f"/v1/fine-tunes/{create_job(api).id}/metrics"
    answer = api.post(path, content=body, headers={"Content-Encoding": encoding})
    assert answer.json() == {"stored": 1, "duplicates": 0, "status": "running"}


# ---------------------------------------------------------------- what is too large


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little room."""
    options = (
        *("--max-body-bytes", "1000", "--max-batch-rows", "3"),
        *("--max-row-keys", "4", "--max-key-length", "20", "--max-query-jobs", "2"),
    )
    with Server(tmp_path_factory.mktemp("narrow"), *options) as server:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in "\n".join(server.log)


@pytest.fixture
def narrow_at(narrow: Server) -> Iterator[str]:
    """The metrics of an empty job there, which is as empty afterwards."""
    with narrow.client() as api:
        path = f"/v1/fine-tunes/{create_job(api).id}/metrics"
        yield path
        assert api.get(path).json() == {"metrics": []}


UNREADABLE = "this is not an HTTP/1.1 request that can be read here"
TOO_LARGE = "the body is larger than the 1000 bytes allowed"


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(
    narrow: Server, narrow_at: str
) -> None:
    refused(
        exchange(narrow, head(narrow, "POST", narrow_at, "Content-Length: 1001")), 413, TOO_LARGE
    )


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(
    narrow: Server, narrow_at: str
) -> None:
    with connected(narrow) as connection:
        connection.sendall(head(narrow, "POST", narrow_at, "Transfer-Encoding: chunked"))
        connection.sendall(b"259\r\n" + b" " * 601 + b"\r\n")
        connection.sendall(b"259\r\n" + b" " * 601 + b"\r\n")  # and more would follow
        refused(received(connection, "POST"), 413, TOO_LARGE)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(b" " * 200_000, mtime=0)),
        ("zstd", zstandard.compress(b" " * 200_000)),
        ("gzip", gzip.compress(b" " * 600, mtime=0) * 2),
        ("zstd", zstandard.compress(b" " * 600) * 2),
    ],
)
def test_a_compressed_body_that_grows_past_the_limit_is_refused(
    narrow: Server, narrow_at: str, encoding: str, bomb: bytes
) -> None:
    assert len(bomb) <= 1000
    headers = (f"Content-Encoding: {encoding}", f"Content-Length: {len(bomb)}")
    answer = exchange(narrow, head(narrow, "POST", narrow_at, *headers) + bomb)
    refused(answer, 413, TOO_LARGE)


def test_a_body_longer_than_it_says_is_cut_there_and_the_rest_is_no_request(
    server: Server, at: str
) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "POST", at, "Content-Length: 9") + BODY)
        answer = received(connection, "POST")
        if "JSON" in answer.text:  # both answers came
            assert error_of(answer)["message"].startswith("bad JSON body: ")
            answer = received(connection, "POST")
        refused(answer, 400, f"{UNREADABLE}: invalid method encountered")
        assert answer.headers["connection"] == "close"


def test_a_body_shorter_than_it_says_is_never_stored(server: Server, at: str) -> None:
    with server.requests() as seen:
        with connected(server) as connection:
            length = f"Content-Length: {len(BODY) + 1}"
            connection.sendall(head(server, "POST", at, length) + BODY)
        server.wait_for_log(lambda lines: f'"path":"{at}"' in lines[-1])
    assert [(request.method, request.path) for request in seen] == [("POST", at)]


def test_a_body_that_does_not_go_on_is_given_up_and_nothing_of_it_stored(tmp_path: Path) -> None:
    with Server(tmp_path, "--body-seconds", "1") as server, server.client() as api:
        at = f"/v1/fine-tunes/{create_job(api).id}/metrics"
        with connected(server) as connection:
            length = f"Content-Length: {len(BODY) + 1}"
            connection.sendall(head(server, "POST", at, length) + BODY)
            answer = received(connection, "POST")
        refused(answer, 408, "nothing more of the body came for 1 s")
        assert api.get(at).json() == {"metrics": []}


def test_a_method_that_nobody_knows_is_refused(server: Server) -> None:
    answer = exchange(server, head(server, "FOO", "/v1/fine-tunes"))
    refused(answer, 400, f"{UNREADABLE}: invalid method encountered")


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"GET /healthz HTTP/1.1\r\n", b"X-%d: " + b"x" * 8000 + b"\r\n"),
        (b"GET /healthz HTTP/1.1\r\nX: ", b"%d" + b"x" * 8000),
        (b"GET /healthz?", b"%d" + b"x" * 8000),
    ],
)
def test_a_head_that_does_not_end_is_refused(server: Server, first: bytes, more: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(first)
        for number in range(9):
            connection.sendall(more % number)
        answer = received(connection)
        refused(answer, 431, "the request's URL and headers exceed 65536 bytes")
        assert answer.headers["connection"] == "close"


def test_heads_of_any_number_of_requests_fit_on_one_connection(server: Server) -> None:
    with connected(server) as connection:
        for _ in range(20):
            connection.sendall(head(server, "GET", "/healthz", "X-Long: " + "x" * 8000))
            assert received(connection).status_code == 200


def test_a_row_at_every_limit_is_taken_and_one_beyond_is_refused(
    narrow: Server, narrow_at: str
) -> None:
    def row(step: int, *keys: str) -> Row:
        return {"timestamp": step, "train/global_step": step, **dict.fromkeys(keys, 1)}

    long = "k" * 20
    widest = [row(1, "a", long), row(2), row(3)]
    beyond: list[tuple[list[Row], int, str]] = [
        ([*widest, row(4)], 413, "4 rows in a batch, more than the 3 allowed"),
        ([row(1), row(2, "a", "b", "c")], 400, "row 1: 5 keys, more than the 4 allowed"),
        (
            [row(1, long + "k")],
            400,
            f"row 0: key '{long}k'… has 21 characters, more than the 20 allowed",
        ),
    ]
    with narrow.client() as api:
        for rows, status, message in beyond:
            refused(api.post(narrow_at, json={"metrics": rows}), status, message)
            lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            headers = {"Content-Type": "application/x-ndjson"}
            refused(api.post(narrow_at, content=lines, headers=headers), status, message)
        wide = f"/v1/fine-tunes/{create_job(api).id}/metrics"
        assert api.post(wide, json={"metrics": widest}).json()["stored"] == 3
        many = api.post("/v1/metrics/query", json={"jobs": ["a", "b", "c"]})
        refused(many, 400, "jobs: 3 IDs, more than the 2 allowed", "jobs")


# ---------------------------------------------------------------- rows


def posted_both_ways(api: httpx2.Client, at: str, row: str) -> Iterator[httpx2.Response]:
    """The answers to a batch of a good row and this one, as JSON and as NDJSON."""
    first = json.dumps({**GOOD, "timestamp": 2})
    yield api.post(at, content=f'{{"metrics": [{first}, {row}]}}'.encode())
    headers = {"Content-Type": "application/x-ndjson"}
    yield api.post(at, content=f"{first}\n{row}\n".encode(), headers=headers)


WRONG_VALUES = {
    "true": "a boolean; a number is wanted",
    "null": "null; a number is wanted",
    "{}": "an object; a number is wanted",
    "[0.5]": "an array; a number is wanted",
    '"0.5"': "the string '0.5'; a number is wanted",
    '""': "the string ''; a number is wanted",
    '"nan"': "the string 'nan'; a number is wanted",
    '"inf"': "the string 'inf'; a number is wanted",
    "NaN": 'the bare token NaN; write it as the string "NaN"',
    "-Infinity": 'the bare token -Infinity; write it as the string "-Infinity"',
    "1e999": "a number beyond double",
    "-1e999": "a number beyond double",
    "9223372036854775808": "an integer beyond int64",
    "-9223372036854775809": "an integer beyond int64",
    "18446744073709551616": "an integer beyond int64",
    "1" * 5000: "an integer beyond int64",
}


@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: str(value)[:24])
def test_a_value_that_is_no_number_is_refused_with_its_row_and_key(
    api: httpx2.Client, at: str, value: str
) -> None:
    message = f"row 1: key 'train/loss': {WRONG_VALUES[value]}"
    for answer in posted_both_ways(api, at, f'{{"train/global_step": 2, "train/loss": {value}}}'):
        refused(answer, 400, message, "train/loss")


WRONG_NUMBERS = {
    "-1": "-1 is negative",
    "-0.5": "-0.5 is not a whole number",
    "7.5": "7.5 is not a whole number",
    "1e-9": "1e-09 is not a whole number",
    "1e19": "10000000000000000000 is beyond int64",
    "9223372036854775808": "an integer beyond int64",
    "true": "a boolean; a number is wanted",
    '"7"': "the string '7'; a number is wanted",
    "1e999": "a number beyond double",
}


@pytest.mark.parametrize("key", ["train/global_step", "timestamp"])
@pytest.mark.parametrize("value", WRONG_NUMBERS)
def test_a_step_and_a_timestamp_are_whole_and_not_negative(
    api: httpx2.Client, at: str, key: str, value: str
) -> None:
    row = json.dumps({**GOOD, key: "*"}).replace('"*"', value)
    for answer in posted_both_ways(api, at, row):
        refused(answer, 400, f"row 1: key '{key}': {WRONG_NUMBERS[value]}", key)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("key", ["train/global_step", "timestamp"])
def test_a_step_and_a_timestamp_are_finite(
    api: httpx2.Client, at: str, key: str, word: str
) -> None:
    for answer in posted_both_ways(api, at, json.dumps({**GOOD, key: word})):
        assert answer.status_code == 400
        error = error_of(answer)
        assert error["param"] == key
        assert error["message"].startswith(f"row 1: key '{key}': ")


def test_a_row_without_a_step_is_refused(api: httpx2.Client, at: str) -> None:
    message = "row 1: train/global_step is missing"
    for answer in posted_both_ways(api, at, '{"timestamp": 1, "train/loss": 0.5}'):
        refused(answer, 400, message, "train/global_step")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "an empty key"),
        ("\\u0000", "key '\\x00' has a control character"),
        ("train/\\u0000loss", "key 'train/\\x00loss' has a control character"),
        ("train/loss\\n", "key 'train/loss\\n' has a control character"),
        ("\\u001b[31m", "key '\\x1b[31m' has a control character"),
        ("\\u007f", "key '\\x7f' has a control character"),
        ("\\u0085", "key '\\x85' has a control character"),
    ],
)
def test_an_empty_key_and_control_characters_in_keys_are_refused(
    api: httpx2.Client, at: str, key: str, reason: str
) -> None:
    for answer in posted_both_ways(api, at, f'{{"train/global_step": 2, "{key}": 0.5}}'):
        refused(answer, 400, f"row 1: {reason}")


def test_half_of_a_surrogate_pair_in_a_key_is_refused(api: httpx2.Client, at: str) -> None:
    for answer in posted_both_ways(api, at, '{"train/global_step": 2, "\\ud800": 0.5}'):
        assert answer.status_code == 400
        assert error_of(answer)["message"].startswith("row 1: ")


def test_whole_numbers_may_be_written_as_floats(api: httpx2.Client) -> None:
    path = f"/v1/fine-tunes/{create_job(api).id}/metrics"
    row = '{"timestamp": 1.779e18, "train/global_step": 7.0, "train/loss": 7.0}'
    assert api.post(path, content=f'{{"metrics": [{row}]}}').json()["stored"] == 1
    assert api.get(path).text == (
        '{"metrics":[{"timestamp":1779000000000000000,"train/global_step":7,"train/loss":7.0}]}'
    )


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"attempt": 0}, "attempt", "a whole number from 1 to 2147483647 is wanted"),
        ({"attempt": "1"}, "attempt", "a whole number from 1 to 2147483647 is wanted"),
        ({"attempt": 2}, "attempt", "2 was never opened"),
        ({"writer": -1}, "writer", "a whole number from 0 to 2147483647 is wanted"),
        ({"writer": 0.5}, "writer", "a whole number from 0 to 2147483647 is wanted"),
        ({"first_seq": -1}, "first_seq", f"a whole number from 0 to {2**61} is wanted"),
        ({"first_seq": 2**62}, "first_seq", f"a whole number from 0 to {2**61} is wanted"),
        ({"first_seq": 2**64}, "first_seq", f"a whole number from 0 to {2**61} is wanted"),
        ({"first_seq": True}, "first_seq", f"a whole number from 0 to {2**61} is wanted"),
    ],
)
def test_where_a_batch_belongs_is_said_in_whole_numbers(
    api: httpx2.Client, at: str, fields: Row, param: str, reason: str
) -> None:
    answer = api.post(at, json={"metrics": [GOOD], **fields})
    refused(answer, 400, f"{param}: {reason}", param)


@pytest.mark.parametrize("name", ["attempt", "writer", "first_seq"])
def test_an_ndjson_batch_says_where_it_belongs_in_the_query_string(
    api: httpx2.Client, at: str, name: str
) -> None:
    def post(query: str) -> httpx2.Response:
        headers = {"Content-Type": "application/x-ndjson"}
        return api.post(f"{at}?{query}", content=json.dumps(GOOD), headers=headers)

    refused(post(f"{name}=1&{name}=1"), 400, f"{name}: given more than once", name)
    refused(post(f"{name}=x"), 400, f"{name}: 'x' is not a whole number", name)
    refused(post(f"{name}=-1"), 400, f"{name}: '-1' is not a whole number", name)
