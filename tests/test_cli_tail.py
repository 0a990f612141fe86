"""`tunelog tail` against a real server, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.commands import INTERRUPTED, REFUSED, environment
from tests.serving import COMMAND, PATIENCE, RecordedJob, Server, create_job, record_job


class Tail:
    """`tunelog tail` while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def lines(self, count: int) -> list[str]:
        """The next lines, as they come."""
        assert self._process.stdout is not None
        end = threading.Timer(PATIENCE, self._process.kill)
        end.start()
        lines = [self._process.stdout.readline().rstrip("\n") for _ in range(count)]
        end.cancel()
        return lines

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C: the exit code, and what was said on standard error."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, said


@contextmanager
def tailing(server: Server, *arguments: str) -> Iterator[Tail]:
    with subprocess.Popen(
        [*COMMAND, "tail", *arguments],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Tail(process)
        finally:
            process.kill()


def log(api: httpx2.Client, job: RecordedJob, step: int, **batch: Any) -> dict[str, Any]:
    row = {"timestamp": step * 10**9, "train/global_step": step, "train/loss": 1 / (step + 1)}
    answer = api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": [row], **batch})
    assert answer.status_code == 200
    return row


def test_tail_prints_a_line_for_each_snapshot(server: Server, api: httpx2.Client) -> None:
    job = record_job(api)
    with tailing(server, job.id, "--keys", "train/grad_norm,eval/loss") as tail:
        lines = tail.lines(45)
        assert lines[:2] == [
            "status: pending",
            "status: running",
        ] or lines[0].startswith("2026-01-01T00:00:10.000000Z  step 1  train/grad_norm 7.5")
        assert any(line.endswith("step 27  train/grad_norm NaN") for line in lines)
        assert tail.interrupt() == (INTERRUPTED, "")


def test_tail_as_json_is_the_apis_rows_changes_of_status_and_what_is_superseded(
    server: Server, api: httpx2.Client
) -> None:
    job = create_job(api)
    rows = [log(api, job, step) for step in (1, 2, 3)]
    with tailing(server, job.id, "--json") as tail:
        first = [json.loads(line) for line in tail.lines(4)]
        assert [row for row in first if "timestamp" in row] == rows
        assert {"status": "running"} in first

        api.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 3})
        again = log(api, job, 3)
        api.patch(f"/v1/fine-tunes/{job.id}", json={"status": "completed"})
        assert [json.loads(line) for line in tail.lines(3)] == [
            {"superseded": {"attempt": 2, "from_step": 3}},
            again,
            {"status": "completed"},
        ]
        assert tail.interrupt() == (INTERRUPTED, "")


def test_tail_of_what_is_new(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    log(api, job, 1)
    with tailing(server, job.id, "--json", "--new") as tail:
        seen = threading.Event()

        def keep_logging() -> None:
            step = 2
            while not seen.wait(0.2):
                log(api, job, step)
                step += 1

        logging = threading.Thread(target=keep_logging)
        logging.start()
        (line,) = tail.lines(1)
        seen.set()
        logging.join()
        assert json.loads(line)["train/global_step"] >= 2


def test_tail_goes_on_after_a_restart_of_the_service(fresh_server: Server) -> None:
    with fresh_server.client() as api:
        job = create_job(api)
        rows = [log(api, job, step) for step in (1, 2)]
    with tailing(fresh_server, job.id, "--json", "--keys", "train/loss") as tail:
        lines = [json.loads(line) for line in tail.lines(3)]
        fresh_server.restart()
        with fresh_server.client() as api:
            rows += [log(api, job, step) for step in (3, 4)]
        lines += [json.loads(line) for line in tail.lines(2)]
        assert [line for line in lines if "timestamp" in line] == rows
        assert tail.interrupt() == (INTERRUPTED, "")


def test_tail_ends_when_the_job_is_deleted(server: Server, api: httpx2.Client) -> None:
    job = create_job(api)
    log(api, job, 1)
    process = subprocess.Popen(
        [*COMMAND, "tail", job.id, "--json"],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    tail = Tail(process)
    tail.lines(2)
    api.delete(f"/v1/fine-tunes/{job.id}")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == REFUSED
    assert said.startswith(f"tunelog: no job {job.id}")
