"""`kill -9` under load: what was acknowledged is there, once, and nothing else is."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path

import httpx2
import pytest

from tests.recording import until
from tests.serving import Row, Server, create_job
from tests.tailing import tailing
from tests.writers import Endless, Writer, end, in_order, logged_at

KILLS = 20
JOBS, WRITERS = 2, 2


class Follower(Endless):
    """Follows a job's tail, and takes it up where it broke off."""

    def __init__(self, server: Server, job_id: str) -> None:
        super().__init__(f"follower of {job_id}")
        self.rows: list[Row] = []
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
            job: [Writer([server], job, rank, moments.randrange(2**32)) for rank in range(WRITERS)]
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


def assert_all_is_there_once(server: Server, job_id: str, sent: list[Row]) -> None:
    path = f"/v1/fine-tunes/{job_id}/metrics"
    with server.client() as api:
        answer = api.get(path, params={"nonfinite": "string"})
        summary = api.get(f"{path}/summary").json()
    assert answer.json() == {"metrics": sent}
    assert answer.headers["tunelog-matched"] == str(len(sent))
    assert summary["snapshots"] == {"train": len(sent), "eval": 0}
