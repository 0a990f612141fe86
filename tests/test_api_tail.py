"""Live tails: server-sent events of what arrives, without gap or repeat."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.exchanges import connected, head, refused
from tests.serving import BEGIN, NS, RecordedJob, Row, Server, create_job
from tests.tailing import Told, tailing
from tunelog.backends import open_backend
from tunelog.model import Batch, Snapshot


def at(job: RecordedJob) -> str:
    return f"/v1/fine-tunes/{job.id}/metrics"


def row(step: int, place: int | None = None, **values: float | str) -> Row:
    """A row of a step; logged at `place` seconds, as many as its step unless it says otherwise."""
    named = {f"train/{key}": value for key, value in (values or {"loss": 1 / (step + 1)}).items()}
    moment = BEGIN + (step if place is None else place) * NS
    return {"timestamp": moment, "train/global_step": step, **named}


def append(api: httpx2.Client, job: RecordedJob, *rows: Row, **fields: Any) -> None:
    answer = api.post(at(job), json={"metrics": rows, **fields})
    assert answer.status_code == 200, answer.text


def change(api: httpx2.Client, job: RecordedJob, **fields: Any) -> None:
    assert api.patch(f"/v1/fine-tunes/{job.id}", json=fields).status_code == 200


def open_attempt(api: httpx2.Client, job: RecordedJob, **fields: Any) -> None:
    assert api.post(f"/v1/fine-tunes/{job.id}/attempts", json=fields).status_code == 200


def snapshots(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The events that tell of these rows."""
    return [("snapshot", row) for row in rows]


def status(word: str) -> tuple[str, Row]:
    """The event that tells of a status."""
    return "status", {"status": word}


def whats(told: Sequence[Told]) -> list[tuple[str, Any]]:
    return [event.what for event in told]


# ---------------------------------------------------------------- what is told


def test_a_tail_begins_at_the_beginning_and_goes_on_as_data_arrives(api: httpx2.Client) -> None:
    job = create_job(api)
    first, second, late = [row(1), row(2)], [row(5)], [row(3)]
    append(api, job, *first)
    with tailing(api, job.id) as tail:
        assert whats(tail.until_now()) == [*snapshots(first), status("running")]
        append(api, job, *second)
        assert whats(tail.until_now()) == snapshots(second)
        append(api, job, *late)
        assert whats(tail.until_now()) == snapshots(late)


def test_a_tail_of_a_job_that_has_not_begun_waits_for_it(api: httpx2.Client) -> None:
    job = create_job(api)
    with tailing(api, job.id) as tail:
        assert whats(tail.until_now()) == [status("pending")]
        append(api, job, row(1))
        assert whats(tail.until_now()) == [*snapshots([row(1)]), status("running")]


def test_a_tail_stays_open_after_the_jobs_end(api: httpx2.Client) -> None:
    job = create_job(api)
    append(api, job, row(1))
    with tailing(api, job.id) as tail:
        tail.until_now()
        change(api, job, status="completed")
        assert whats(tail.until_now()) == [status("completed")]
        append(api, job, row(2))
        assert whats(tail.until_now()) == snapshots([row(2)])
    with tailing(api, job.id) as tail:
        assert whats(tail.until_now()) == [
            *snapshots([row(1)]),
            status("completed"),
            *snapshots([row(2)]),
        ]


def test_a_restart_is_told_before_the_snapshots_that_supersede(api: httpx2.Client) -> None:
    job = create_job(api)
    append(api, job, *map(row, range(1, 7)))
    with tailing(api, job.id) as tail:
        tail.until_now()
        open_attempt(api, job, from_step=5)
        superseded = ("superseded", {"attempt": 2, "from_step": 5})
        assert whats(tail.until_now()) == [superseded]
        append(api, job, row(5, 20), row(6, 21))
        assert whats(tail.until_now()) == snapshots([row(5, 20), row(6, 21)])
        append(api, job, row(3, 22))
        lower = ("superseded", {"attempt": 2, "from_step": 3})
        assert whats(tail.until_now()) == [lower, *snapshots([row(3, 22)])]
    with tailing(api, job.id) as tail:
        again = whats(tail.until_now())
    kept = [row(1), row(2)]
    later = [row(5, 20), row(6, 21)]
    assert again == [
        *snapshots(kept),
        status("running"),
        *snapshots(later),
        lower,
        *snapshots([row(3, 22)]),
    ]


def test_filters_hold_for_a_tail(api: httpx2.Client) -> None:
    job = create_job(api)
    append(api, job, *map(row, range(1, 7)), row(7, loss="NaN", lr=0.5))
    open_attempt(api, job, from_step=6)
    append(api, job, row(6, 20))
    evaluated: Row = {"timestamp": BEGIN + 5 * NS, "train/global_step": 5, "eval/loss": 3.0}
    append(api, job, evaluated, attempt=1)

    def told(**parameters: Any) -> list[Row]:
        with tailing(api, job.id, **parameters) as tail:
            return [data for _, event, data in tail.until_now() if event == "snapshot"]

    assert told() == [*map(row, range(1, 6)), row(6, 20), evaluated]
    assert told(global_step_from=3, global_step_to=5) == [row(3), row(4), row(5), evaluated]
    assert told(logged_at_from="2026-01-01T00:00:05Z") == [row(5), row(6, 20), evaluated]
    assert told(keys="eval/*") == [evaluated]
    assert told(attempt=2) == [row(6, 20)]
    gone = {**row(7, lr=0.5), "train/nonfinite": 1}
    assert told(attempt="all", global_step_from=7) == [gone]
    exact = row(7, loss="NaN", lr=0.5)
    assert told(attempt=1, global_step_from=7, nonfinite="string") == [exact]
    assert told(resolution=1) == told()  # a tail samples nothing


def test_a_change_by_another_process_is_told(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.client() as api:
        job = create_job(api)
        with tailing(api, job.id) as tail:
            tail.until_now()
            backend = open_backend(server.store)
            try:
                logged = Snapshot("train", 4, BEGIN + 4 * NS, {"train/loss": 1 / 5})
                store = backend.store(backend.projects()[0])
                store.append(job.id, Batch(snapshots=[logged]))
            finally:
                backend.close()
            assert whats(tail.until_now()) == [*snapshots([row(4)]), status("running")]


# ---------------------------------------------------------------- where it goes on


def test_a_tail_goes_on_from_the_cursor_of_a_read(api: httpx2.Client) -> None:
    job = create_job(api)
    append(api, job, row(1), row(2))
    cursor = api.get(at(job)).headers["tunelog-cursor"]
    append(api, job, row(9), row(0))
    with tailing(api, job.id, after=cursor) as tail:
        assert whats(tail.until_now()) == snapshots([row(9), row(0)])


def test_a_tail_resumes_after_any_event_without_gap_or_repeat(api: httpx2.Client) -> None:
    """Rows come in any order of time and step, in batches, and some while nobody listens."""
    job = create_job(api)
    order = list(range(1, 31))
    random.Random(7).shuffle(order)
    arrived = [row(step) for step in order]
    for begin in range(0, 20, 3):
        append(api, job, *arrived[begin : min(begin + 3, 20)])
    with tailing(api, job.id) as tail:
        seen = tail.until_now()
    append(api, job, *arrived[20:])
    with tailing(api, job.id) as tail:
        whole = tail.until_now()
    assert [data for _, event, data in whole if event == "snapshot"] == arrived
    assert whole[: len(seen)] == seen
    assert [int(told.id) for told in whole] == sorted({int(told.id) for told in whole})
    for place, told in enumerate(whole):
        with tailing(api, job.id, last=told.id) as tail:
            assert tail.until_now() == whole[place + 1 :]
        with tailing(api, job.id, last=told.id, after="1") as tail:
            assert tail.until_now() == whole[place + 1 :]


def test_a_tail_longer_than_a_page_is_told_whole(api: httpx2.Client) -> None:
    job = create_job(api)
    steps = list(range(3500))
    random.Random(8).shuffle(steps)
    append(api, job, *map(row, steps))
    with tailing(api, job.id, keys="train/loss") as tail:
        told = tail.until_now()
    assert whats(told) == [*snapshots([row(step) for step in steps]), status("running")]


@pytest.mark.parametrize("last", ["abc", "-1", "1.5", "1" * 19])
def test_an_event_id_that_is_none_of_ours_is_refused(api: httpx2.Client, last: str) -> None:
    job = create_job(api)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    answer = api.get(at(job), headers=headers)
    refused(answer, 400, f"after: {last!r} is not a cursor of this service", "after")


def test_an_empty_event_id_is_none(api: httpx2.Client) -> None:
    job = create_job(api)
    with tailing(api, job.id, last="") as tail:
        assert whats(tail.until_now()) == [status("pending")]


def test_a_tail_of_an_unknown_job_or_with_a_wrong_filter_is_refused(api: httpx2.Client) -> None:
    headers = {"Accept": "text/event-stream"}
    unknown = api.get("/v1/fine-tunes/ft-nobody/metrics", headers=headers)
    refused(unknown, 404, "no job ft-nobody")
    wrong = api.get(at(create_job(api)), params={"attempt": "x"}, headers=headers)
    refused(wrong, 400, "attempt: 'x' is not an integer", "attempt")


# ---------------------------------------------------------------- how it ends


def test_a_quiet_tail_says_from_time_to_time_that_it_is_there(tmp_path: Path) -> None:
    with Server(tmp_path, "--tail-comment-seconds", "1") as server, server.client() as api:
        job = create_job(api)
        with tailing(api, job.id) as tail:
            tail.until_now()
            assert [tail.next(), tail.next()] == [Told("", "", "still here")] * 2
            append(api, job, row(1))
            assert whats(tail.until_now()) == [*snapshots([row(1)]), status("running")]
            assert tail.next() == Told("", "", "still here")


def test_a_tail_ends_when_its_job_is_deleted(api: httpx2.Client) -> None:
    job = create_job(api)
    with tailing(api, job.id) as tail:
        tail.until_now()
        assert api.delete(f"/v1/fine-tunes/{job.id}").status_code == 200
        assert list(tail) == []


def test_a_cursor_of_a_deleted_job_misses_nothing_of_the_one_made_under_its_id(
    api: httpx2.Client,
) -> None:
    job = create_job(api)
    append(api, job, *(row(step) for step in range(100)))
    cursor = api.get(at(job)).headers["tunelog-cursor"]
    assert api.delete(f"/v1/fine-tunes/{job.id}").status_code == 200
    assert api.post("/v1/fine-tunes", json={"model": "m", "id": job.id}).status_code == 200
    append(api, job, row(1), row(2))
    found = api.get(at(job), params={"after": cursor}).json()
    assert found == {"metrics": [row(1), row(2)]}
    with tailing(api, job.id, after=cursor) as tail:
        assert whats(tail.until_now())[:2] == snapshots([row(1), row(2)])


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_tail_ends_when_the_service_stops(fresh_server: Server, by: signal.Signals) -> None:
    with fresh_server.client() as api:
        job = create_job(api)
        append(api, job, row(1))
        with tailing(api, job.id) as tail:
            tail.until_now()
            assert fresh_server.stop(by) == 0
            assert list(tail) == []
    assert "Traceback" not in "\n".join(fresh_server.log)


def test_many_tails_leave_room_for_other_requests(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    with ExitStack() as open_tails:
        tails = [open_tails.enter_context(connected(server)) for _ in range(100)]
        for tail in tails:
            tail.sendall(head(server, "GET", at(job), "Accept: text/event-stream"))
            assert tail.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        append(api, job, row(1))
        assert api.get(at(job)).json() == {"metrics": [row(1)]}
        for tail in tails:
            told = b""
            while b'"running"' not in told:
                told += tail.recv(4096)
            assert told.count(b"event: snapshot\n") == 1
