"""`kill -9` under load: what was acknowledged is there, once, and nothing else is."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from tests.recording import until
from tests.serving import PATIENCE, Row, Server, create_job
from tests.tailing import tailing

KILLS = 20
JOBS, WRITERS = 2, 2


class Writer(threading.Thread):
    """Logs batches, each again and again until it is acknowledged."""

    def __init__(self, server: Server, job_id: str, rank: int, seed: int) -> None:
        super().__init__(name=f"writer {rank} of {job_id}", daemon=True)
        self.rows: list[Row] = []
        self.acknowledged = 0
        self.repeats = 0
        self.failure: BaseException | None = None
        self.enough = threading.Event()
        self._server, self._rank = server, rank
        self._path = f"/v1/fine-tunes/{job_id}/metrics"
        self._random = random.Random(seed)

    def run(self) -> None:
        try:
            with self._server.client() as api:
                while not self.enough.is_set():
                    self._log(api)
        except BaseException as error:  # told by the test, which would not hear it otherwise
            self.failure = error

    def _log(self, api: httpx2.Client) -> None:
        first = len(self.rows)
        batch = [self._row(first + i) for i in range(self._random.randint(1, 60))]
        self.rows += batch
        body = {"metrics": batch, "writer": self._rank, "first_seq": first}
        while True:
            try:
                answer = api.post(self._path, json=body)
            except httpx2.TransportError:
                self.repeats += 1
                time.sleep(0.02)  # until the server is back
                continue
            assert answer.status_code == 200, answer.text
            receipt = answer.json()
            assert receipt["stored"] + receipt["duplicates"] == len(batch)
            assert receipt["status"] == "running"
            self.acknowledged += 1
            return

    def _row(self, seq: int) -> Row:
        """A row like no other, at a time like no other."""
        loss: float | str = "NaN" if seq % 50 == 49 else self._random.random()
        row: Row = {"timestamp": 1_000 * (seq + 1) + self._rank, "train/global_step": seq}
        return {**row, "train/loss": loss, f"train/rank{self._rank}": seq}


class Follower(threading.Thread):
    """Follows a job's tail, and takes it up where it broke off."""

    def __init__(self, server: Server, job_id: str) -> None:
        super().__init__(name=f"follower of {job_id}", daemon=True)
        self.rows: list[Row] = []
        self.enough = threading.Event()
        self._server, self._job_id = server, job_id

    def run(self) -> None:
        last: str | None = None
        with self._server.client() as api:
            while True:
                with (
                    contextlib.suppress(httpx2.TransportError),
                    tailing(api, self._job_id, last, nonfinite="string") as tail,
                ):
                    for told in tail:
                        last = told.id or last
                        if told.event == "snapshot":
                            self.rows.append(told.data)
                        elif told.data == "up to date" and self.enough.is_set():
                            return
                time.sleep(0.02)  # until the server is back


@pytest.mark.slow
def test_whatever_is_acknowledged_survives_20_kills_and_is_there_once(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with Server(tmp_path) as server:
        with server.client() as api:
            jobs = [create_job(api).id for _ in range(JOBS)]
        writers = {
            job: [Writer(server, job, rank, moments.randrange(2**32)) for rank in range(WRITERS)]
            for job in jobs
        }
        follower = Follower(server, jobs[0])
        everyone = [writer for rank in writers.values() for writer in rank]
        for thread in (*everyone, follower):
            thread.start()
        try:
            for _ in range(KILLS):
                kill_at_a_random_moment(server, everyone, moments)
        finally:
            end(everyone)
        assert [writer.failure for writer in everyone if writer.failure] == []
        assert sum(writer.repeats for writer in everyone) >= KILLS
        for job in jobs:
            assert_all_is_there_once(server, job, in_order(writers[job]))
        with server.client() as api:
            api.patch(f"/v1/fine-tunes/{jobs[0]}", json={"status": "completed"})
        end([follower])
        assert sorted(follower.rows, key=logged_at) == in_order(writers[jobs[0]])
        assert server.stop() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "tunelog.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def kill_at_a_random_moment(server: Server, writers: list[Writer], moments: random.Random) -> None:
    """Kill the server while some more batches are acknowledged, and start it again."""

    def acknowledged() -> int:
        return sum(writer.acknowledged for writer in writers)

    enough = acknowledged() + moments.randint(1, 40)
    until(lambda: acknowledged() >= enough or any(w.failure for w in writers), "writers to write")
    time.sleep(moments.random() / 50)
    server.kill()
    assert "Traceback" not in "\n".join(server.log)
    server.start()


def end(threads: Sequence[Writer | Follower]) -> None:
    for thread in threads:
        thread.enough.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} does not end"


def in_order(writers: list[Writer]) -> list[Row]:
    """Everything that they logged, as it is to be read."""
    return sorted((row for writer in writers for row in writer.rows), key=logged_at)


def logged_at(row: Row) -> int:
    moment: int = row["timestamp"]
    return moment


def assert_all_is_there_once(server: Server, job_id: str, sent: list[Row]) -> None:
    path = f"/v1/fine-tunes/{job_id}/metrics"
    with server.client() as api:
        answer = api.get(path, params={"nonfinite": "string"})
        summary = api.get(f"{path}/summary").json()
    assert answer.json() == {"metrics": sent}
    assert answer.headers["tunelog-matched"] == str(len(sent))
    assert summary["snapshots"] == {"train": len(sent), "eval": 0}
