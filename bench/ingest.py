"""Writing over HTTP: batches and single snapshots, each answered when it is on stable storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.data import BATCH, DETAILS, PlainTable, plain_rows, train_snapshots
from bench.figures import Figure, Goal, Spread, Yardstick, figure, shown
from bench.loads import Outcome, Trickling, Writing, latencies, together, wall
from bench.processes import ServerProcess, tunelog_server
from tunelog.backends.sqlite import SqliteBackend

INGEST_GOAL = Goal("≥", 30_000)
ROUNDS = 3
BATCHES = 60
PLAIN_BATCHES = 20
CLIENTS = 50

Place = tuple[str, int]
"""A job, and the rank of a writer in it."""


def measure(folder: Path, bare: ServerProcess) -> Iterator[Figure]:
    """Figures of writing to a server with a store of its own."""
    jobs = [f"ft-bench-{number}" for number in range(CLIENTS)]
    key = _registered(folder / "ingest.db", jobs)
    plain = PlainTable(folder / "plain-ingest.db")
    with tunelog_server(folder / "ingest.db") as server:
        ingest = _Ingest(server, bare, plain, key)
        yield ingest.batches("1 writer", [("ft-bench-alone", 0)])
        yield ingest.batches("4 writers, one job", [("ft-bench-shared", r) for r in range(4)])
        yield ingest.batches("4 writers, a job each", [(f"ft-bench-of-{r}", 0) for r in range(4)])
        yield ingest.singles(jobs)
    plain.close()


def _registered(path: Path, jobs: Sequence[str]) -> str:
    """A key to a new store that knows these jobs, and those of the batches."""
    backend = SqliteBackend(path)
    project = backend.create_project("default")
    store = backend.store(project)
    of_batches = ["ft-bench-alone", "ft-bench-shared", *(f"ft-bench-of-{r}" for r in range(4))]
    for job in [*of_batches, *jobs]:
        store.create_job(DETAILS, job)
    _, key = backend.create_key(project, ["write"])
    backend.close()
    return key


class _Ingest:
    """The server that is written to, and what stands beside it."""

    def __init__(
        self, server: ServerProcess, bare: ServerProcess, plain: PlainTable, key: str
    ) -> None:
        self._server, self._bare, self._plain, self._key = server, bare, plain, key
        self._plain_step = 0

    def batches(self, name: str, places: Sequence[Place]) -> Figure:
        """Batches of 1,000, a process for each place."""
        rates, bare_rates, plain_rates, cpu, waits = [], [], [], [], []
        for turn in range(ROUNDS):
            outcomes, used = self._written(places, turn)
            rates.append(_rate(outcomes, BATCH))
            cpu.append(used / (BATCHES * BATCH))
            waits += latencies(outcomes)
            bare_rates.append(_rate(together(self._writings(self._bare, places, 0)), BATCH))
            plain_rates.append(self._plain_rate())
        return figure(
            f"ingest, 1,000 a batch, {name}",
            "/s",
            rates,
            goal=INGEST_GOAL,
            cpu=median(cpu),
            yardsticks=[
                Yardstick("executemany, 1,000 a commit", median(plain_rates)),
                Yardstick("bare uvicorn takes the bodies", median(bare_rates)),
            ],
            note=_waited(waits, "batch"),
        )

    def singles(self, jobs: Sequence[str]) -> Figure:
        """One snapshot a request, a client for each job, half of them in each of two processes."""
        together(self._tricklings(self._server, jobs, 0, 2))
        rates, cpu, waits = [], [], []
        for turn in range(ROUNDS):
            begun = self._server.cpu_seconds()
            outcomes = together(self._tricklings(self._server, jobs, 1000 * (turn + 1), 100))
            rates.append(_rate(outcomes, 1))
            cpu.append((self._server.cpu_seconds() - begun) / len(latencies(outcomes)))
            waits += latencies(outcomes)
        bare_rate = _rate(together(self._tricklings(self._bare, jobs, 0, 100)), 1)
        return figure(
            f"ingest, 1 a request, {len(jobs)} clients",
            "/s",
            rates,
            cpu=median(cpu),
            yardsticks=[
                Yardstick("INSERT, 1 a commit", self._plain_single_rate()),
                Yardstick("bare uvicorn takes the bodies", bare_rate),
            ],
            note=_waited(waits, "request"),
        )

    def _written(self, places: Sequence[Place], turn: int) -> tuple[list[Outcome], float]:
        """What came of a round, and the server's CPU seconds."""
        begun = self._server.cpu_seconds()
        outcomes = together(self._writings(self._server, places, turn))
        return outcomes, self._server.cpu_seconds() - begun

    def _writings(self, server: ServerProcess, places: Sequence[Place], turn: int) -> list[Writing]:
        each = BATCHES // len(places)
        first = turn * each * BATCH
        return [Writing(server.port, self._key, job, rank, first, each) for job, rank in places]

    def _tricklings(
        self, server: ServerProcess, jobs: Sequence[str], first_step: int, most: int
    ) -> list[Trickling]:
        halves = (jobs[::2], jobs[1::2])
        return [Trickling(server.port, self._key, half, first_step, most, 1.5) for half in halves]

    def _plain_rate(self) -> float:
        """Snapshots a second that the plain table takes."""
        seconds = 0.0
        for _ in range(PLAIN_BATCHES):
            snapshots = train_snapshots(self._plain_step, BATCH)
            seconds += self._plain.insert(plain_rows(1, self._plain_step, snapshots))
            self._plain_step += BATCH
        return PLAIN_BATCHES * BATCH / seconds

    def _plain_single_rate(self) -> float:
        rows = plain_rows(2, 0, train_snapshots(0, 200))
        return len(rows) / sum(self._plain.insert([row]) for row in rows)


def _rate(outcomes: Sequence[Outcome], snapshots: int) -> float:
    """Snapshots a second, so many in each answer."""
    return len(latencies(outcomes)) * snapshots / wall(outcomes)


def _waited(waits: Sequence[float], what: str) -> str:
    spread = Spread.of(waits)
    return f"a {what} waits {shown(spread.median, unit='s')}, p99 {shown(spread.p99, unit='s')}"
