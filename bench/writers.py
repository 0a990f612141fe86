"""Trainers that log once a second, as their senders post it: what is due, on one connection each.

Each snapshot has a moment at which it is due, whatever became of those before it; from then until
its receipt is how long it waited. A sender that is behind posts all that is due in one batch, and
posts a batch again that was not taken, under the same sequence numbers.
"""

from __future__ import annotations

import heapq
import selectors
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bench.clients import TIMEOUT, Connection, post
from bench.data import train_snapshots
from tunelog.model import Snapshot
from tunelog.wire.snapshots import decode_receipt, encode_snapshots

PAUSE: Final = 0.5
"""Seconds until a batch that was not taken is posted again."""

FIVE: Final = 5
"""So many metrics `train_snapshots` gives; a writer of more has norms of layers beside them."""


class Waited(Struct, frozen=True):
    """What came of a load.

    Attributes:
        seconds: from when each snapshot was due to its receipt; of those that count.
        acknowledged, missing: all snapshots that have a receipt, and those that have none.
        troubles: how often a request had another answer than 200, by its words.
        carried: bytes of all requests and answers, without the answers' heads.
        wall, cpu: seconds that it took, and CPU seconds of this process.
    """

    seconds: list[float]
    acknowledged: int
    missing: int
    troubles: dict[str, int]
    carried: int
    wall: float
    cpu: float


class Logging(Struct, frozen=True):
    """Writers of one process, each with a job and the service that it posts to.

    Attributes:
        places: the job and the port of each.
        key: an API key.
        metrics: of each snapshot.
        first: the first step, and sequence number.
        warm: seconds that do not count at the beginning.
        seconds: that count.
    """

    places: Sequence[tuple[str, int]]
    key: str
    metrics: int
    first: int
    warm: float
    seconds: float

    def run(self, patience: float = TIMEOUT) -> Waited:
        """Log until all is acknowledged, or for so many seconds after the last was due."""
        return _Run(self).go(patience)


class _Run:
    def __init__(self, load: Logging) -> None:
        self.load = load
        self.selector = selectors.DefaultSelector()
        self.turns: list[tuple[float, int, _Writer]] = []
        self.waits: list[float] = []
        self.troubles: Counter[str] = Counter()
        self.carried = 0
        self.most = int(load.warm + load.seconds) + 1
        self._writers = [
            _Writer(self, rank, job, port) for rank, (job, port) in enumerate(load.places)
        ]

    def go(self, patience: float) -> Waited:
        begun, cpu = time.perf_counter(), time.process_time()
        self.counted_from = begun + self.load.warm
        self.end = self.counted_from + self.load.seconds
        for rank, writer in enumerate(self._writers):
            writer.begin(begun + rank / len(self._writers))
        while self.turns or any(writer.is_waiting for writer in self._writers):
            now = time.perf_counter()
            while self.turns and self.turns[0][0] <= now:
                heapq.heappop(self.turns)[2].post()
            pause = self.turns[0][0] - now if self.turns else 1.0
            for key, _ in self.selector.select(max(0.0, pause)):
                key.data.arrived()
            if now > self.end + patience:
                break
        taken = time.perf_counter() - begun, time.process_time() - cpu
        missing = sum(writer.close() for writer in self._writers)
        acknowledged = sum(writer.acknowledged for writer in self._writers)
        troubles = dict(self.troubles)
        return Waited(self.waits, acknowledged, missing, troubles, self.carried, *taken)

    def at(self, moment: float, writer: _Writer) -> None:
        """Have a writer post then."""
        heapq.heappush(self.turns, (moment, writer.rank, writer))


class _Writer:
    def __init__(self, run: _Run, rank: int, job: str, port: int) -> None:
        self.rank = rank
        self._run, self._port = run, port
        self._path = f"/v1/fine-tunes/{job}/metrics"
        load = run.load
        self._rows = _rows(load.first, run.most, rank, load.metrics)
        self.acknowledged = self._posted = 0
        self.is_waiting = False
        self._connect()

    def begin(self, moment: float) -> None:
        """Log once a second from this moment on."""
        self._begun = moment
        self._most = int(self._run.end - moment) + 1
        self._run.at(moment, self)

    def post(self) -> None:
        """Post what is due and has no receipt."""
        load, now = self._run.load, time.perf_counter()
        self._posted = min(self._most, int(now - self._begun) + 1)
        first = load.first + self.acknowledged
        rows = b",".join(self._rows[self.acknowledged : self._posted])
        body = b'{"attempt":1,"first_seq":%d,"metrics":[%b]}' % (first, rows)
        request = post(self._path, load.key, body)
        self._run.carried += len(request)
        self.is_waiting = True
        try:
            self._connection.send(request)
        except OSError as error:
            self._again(type(error).__name__)

    def arrived(self) -> None:
        """Take what the service says."""
        try:
            if not self._connection.receive(self._received):
                return
        except OSError as error:
            self._again(type(error).__name__)
            return
        answer = self._connection.answer
        if answer.status != 200:
            self._again(f"{answer.status}: {answer.body[:80].decode(errors='replace')}")
            return
        receipt = decode_receipt(answer.body)
        assert receipt.stored + receipt.duplicates == self._posted - self.acknowledged
        self._acknowledge()

    def _acknowledge(self) -> None:
        now = time.perf_counter()
        for number in range(self.acknowledged, self._posted):
            due = self._begun + number
            if due >= self._run.counted_from:
                self._run.waits.append(now - due)
        self.acknowledged = self._posted
        self.is_waiting = False
        if self._posted < self._most:
            self._run.at(max(now, self._begun + self._posted), self)

    def _received(self, size: int) -> None:
        self._run.carried += size

    def _again(self, why: str) -> None:
        self._run.troubles[why] += 1
        self._run.selector.unregister(self._connection.socket)
        self._connection.socket.close()
        self._connect()
        self._run.at(time.perf_counter() + PAUSE, self)

    def _connect(self) -> None:
        self._connection = Connection(self._port, keep=True)
        self._run.selector.register(self._connection.socket, selectors.EVENT_READ, self)

    def close(self) -> int:
        """Hang up; how many snapshots have no receipt."""
        self._connection.socket.close()
        return self._most - self.acknowledged


def _rows(first: int, count: int, rank: int, metrics: int) -> list[bytes]:
    """Snapshots as a body has them; written beforehand, as trainers have machines of their own."""
    lines = encode_snapshots(_snapshots(first, count, rank, metrics))
    return [exact or line for line, exact in lines]


def _snapshots(first: int, count: int, rank: int, metrics: int) -> list[Snapshot]:
    if metrics == FIVE:
        return train_snapshots(first, count, rank)
    return [
        Snapshot("train", each.global_step, each.logged_at, _wider(each, metrics))
        for each in train_snapshots(first, count, rank)
    ]


def _wider(snapshot: Snapshot, metrics: int) -> dict[str, int | float]:
    norm = float(snapshot.values["train/grad_norm"])
    layers = {
        f"train/layer_{layer:02}/grad_norm": float(f"{norm / (layer + 1.7):.6g}")
        for layer in range(metrics - FIVE)
    }
    return {**snapshot.values, **layers}
