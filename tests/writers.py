"""Trainers that log as fast as they can while a drill goes on around them."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import httpx2

from tests.serving import PATIENCE, Row, Server


class Endless(threading.Thread):
    """Goes on until it has had `enough`."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.enough = threading.Event()


class Writer(Endless):
    """Logs batches, each again and again until it is acknowledged, by whichever server.

    Attributes:
        rows: everything that it logged.
        acknowledged: how many batches were.
        repeats: how many were sent again.
        failure: what it ended of, if it did.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        job_id: str,
        rank: int,
        seed: int,
        *,
        may_be_unavailable: bool = False,
    ) -> None:
        """A server may go away; with `may_be_unavailable` it may also answer 503."""
        super().__init__(f"writer {rank} of {job_id}")
        self.rows: list[Row] = []
        self.acknowledged = 0
        self.repeats = 0
        self.failure: BaseException | None = None
        self._servers, self._rank = servers, rank
        self._may_be_unavailable = may_be_unavailable
        self._path = f"/v1/fine-tunes/{job_id}/metrics"
        self._random = random.Random(seed)

    def run(self) -> None:
        try:
            with ExitStack() as stack:
                apis = [stack.enter_context(server.client()) for server in self._servers]
                while not self.enough.is_set():
                    self._log(apis)
        except BaseException as error:  # told by the test, which would not hear it otherwise
            self.failure = error

    def _log(self, apis: Sequence[httpx2.Client]) -> None:
        first = len(self.rows)
        batch = [self._row(first + i) for i in range(self._random.randint(1, 60))]
        self.rows += batch
        body = {"metrics": batch, "writer": self._rank, "first_seq": first}
        receipt = self._acknowledged(apis, body)
        assert receipt["stored"] + receipt["duplicates"] == len(batch)
        assert receipt["status"] == "running"
        self.acknowledged += 1

    def _acknowledged(self, apis: Sequence[httpx2.Client], body: dict[str, Any]) -> Any:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = self._random.choice(apis).post(self._path, json=body)
                if not (self._may_be_unavailable and answer.status_code == 503):
                    assert answer.status_code == 200, answer.text
                    return answer.json()
                assert "retry-after" in answer.headers
            self.repeats += 1
            time.sleep(0.02)  # until a server is back

    def _row(self, seq: int) -> Row:
        """A row like no other, at a time like no other."""
        loss: float | str = "NaN" if seq % 50 == 49 else self._random.random()
        row: Row = {"timestamp": 1_000 * (seq + 1) + self._rank, "train/global_step": seq}
        return {**row, "train/loss": loss, f"train/rank{self._rank}": seq}


def end(threads: Sequence[Endless], patience: float = PATIENCE) -> None:
    """Have threads end, and wait for it."""
    for thread in threads:
        thread.enough.set()
    for thread in threads:
        thread.join(patience)
        assert not thread.is_alive(), f"{thread.name} does not end"


def in_order(writers: list[Writer]) -> list[Row]:
    """Everything that they logged, as it is to be read."""
    return sorted((row for writer in writers for row in writer.rows), key=logged_at)


def logged_at(row: Row) -> int:
    moment: int = row["timestamp"]
    return moment
