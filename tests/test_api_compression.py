"""Answers as the client likes them compressed, and those that are kept so in the store."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import zstandard

from tests.serving import BEGIN, NS, RecordedJob, Row, Server, create_job, record_job

WINDOWS: list[dict[str, Any]] = [
    {},
    {"global_step_from": 700},
    {"global_step_from": 130, "global_step_to": 2600},
    {"keys": "train/loss"},
    {"nonfinite": "string"},
    {"resolution": 100},
    {"attempt": "all"},
    {"global_step_from": 10_000},
]


def path(job: RecordedJob) -> str:
    return f"/v1/fine-tunes/{job.id}/metrics"


def unpacked(stream: bytes) -> bytes:
    """A zstd stream of any number of frames."""
    reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return reader.read()


@pytest.fixture(scope="module")
def job(server: Server) -> RecordedJob:
    with server.client() as api:
        return record_job(api)


@pytest.fixture(scope="module")
def long_job(server: Server) -> RecordedJob:
    """3,000 snapshots in batches that are packed as they come, some NaN, some eval, a restart."""
    with server.client() as api:
        job = create_job(api)
        for first in (0, 1000, 2000):
            _post(api, job, [row for i in range(1000) for row in _rows(first + i)])
        attempt = api.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 2500}).json()
        _post(api, job, [_row(step, 4000) for step in range(2500, 2600)], **_attempt(attempt))
        return job


def _attempt(answer: dict[str, Any]) -> dict[str, int]:
    return {"attempt": answer["attempt"]}


def _row(step: int, later: int = 0) -> Row:
    loss: float | str = "NaN" if step % 777 == 5 else 1 / (1 + step)
    logged_at = BEGIN + (step + later) * NS
    return {"timestamp": logged_at, "train/global_step": step, "train/loss": loss, "train/lr": 0.1}


def _rows(step: int) -> list[Row]:
    extra: Row = {"timestamp": BEGIN + step * NS + 1, "train/global_step": step, "eval/loss": 0.5}
    return [_row(step), extra] if step % 500 == 0 else [_row(step)]


def _post(api: httpx2.Client, job: RecordedJob, rows: list[Row], **fields: Any) -> None:
    assert api.post(path(job), json={"metrics": rows, **fields}).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "used"),
    [
        ("gzip, deflate", "gzip"),
        ("zstd", "zstd"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *;q=0.1", "gzip"),
        ("GZIP", "gzip"),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("identity", None),
        ("", None),
    ],
)
def test_an_answer_is_compressed_as_the_client_likes_it(
    api: httpx2.Client, job: RecordedJob, accepted: str, used: str | None
) -> None:
    plain = api.get(path(job)).content
    unpack: dict[str | None, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "zstd": unpacked,
        None: bytes,
    }
    with api.stream("GET", path(job), headers={"Accept-Encoding": accepted}) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers.get("content-encoding") == used
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert unpack[used](packed) == plain
    assert (len(packed) < len(plain)) == (used is not None)


def test_a_small_answer_is_not_compressed(api: httpx2.Client, job: RecordedJob) -> None:
    headers = {"Accept-Encoding": "gzip, zstd"}
    answer = api.get(path(job), params={"resolution": 1, "keys": "train/loss"}, headers=headers)
    assert len(answer.content) < 1024
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_long_job_is_the_same_in_frames_from_the_store_and_as_it_is(
    api: httpx2.Client, long_job: RecordedJob, window: dict[str, Any]
) -> None:
    plain = api.get(path(long_job), params=window, headers={"Accept-Encoding": "identity"})
    with api.stream(
        "GET", path(long_job), params=window, headers={"Accept-Encoding": "zstd"}
    ) as answer:
        packed = b"".join(answer.iter_raw())
        for name in ("tunelog-matched", "tunelog-returned", "tunelog-cursor"):
            assert answer.headers[name] == plain.headers[name]
        compressed = answer.headers.get("content-encoding") == "zstd"
    assert (unpacked(packed) if compressed else packed) == plain.content
    assert len(plain.json()["metrics"]) == int(plain.headers["tunelog-returned"])


def test_frames_come_from_the_store_as_they_lie_there(
    api: httpx2.Client, long_job: RecordedJob
) -> None:
    with api.stream("GET", path(long_job), headers={"Accept-Encoding": "zstd"}) as answer:
        packed = b"".join(answer.iter_raw())
    frames = packed.count(zstandard.FRAME_HEADER)
    assert frames > 20  # one stream of its own would have one
