"""Writing over HTTP: batches and single snapshots, each answered when it is on stable storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench import questions
from bench.beside import Peers
from bench.data import BATCH, DETAILS, train_snapshots
from bench.figures import Figure, Section, Spread, Yardstick, figure, shown
from bench.goals import PEERS, Goal
from bench.loads import Asking, Outcome, Trickling, Writing, latencies, together, wall
from bench.machine import Load, machine
from bench.plain import PlainFile, PlainRow, PlainTable, plain_rows
from bench.processes import ServerProcess, bare_server, tunelog_server
from tunelog.backends.sqlite import SqliteBackend

TABLE, FILE = "executemany, 1,000 a commit", "append and fsync, a batch each"
BATCHES_GOALS = (Goal("≥", 0.3, TABLE), Goal("≥", 5.0, PEERS))
SINGLES_GOAL = Goal("≥", 3000)
ROUNDS = 3
BATCHES = 60
PLAIN_BATCHES = 20
CLIENTS = 50
_READING_SECONDS = 3.0

Place = tuple[str, int]
"""A job, and the rank of a writer in it."""


def measure(folder: Path, peers: Peers) -> Section:
    """Figures of writing to a server with a store of its own."""
    load = Load()
    held = folder / "held-ingest"
    held.mkdir()
    jobs = [f"ft-bench-{number}" for number in range(CLIENTS)]
    key = _registered(folder / "ingest.db", jobs)
    plain = Plain(folder)
    with bare_server(held) as bare, tunelog_server(folder / "ingest.db") as server:
        ingest = _Ingest(server, bare, plain, key)
        figures = [
            ingest.batches("1 writer", [("ft-bench-alone", 0)], peers.rates()),
            ingest.batches("4 writers, one job", [("ft-bench-shared", r) for r in range(4)]),
            ingest.batches("4 writers, a job each", [(f"ft-bench-of-{r}", 0) for r in range(4)]),
            ingest.singles(jobs),
            *ingest.beside_reads(jobs),
        ]
    plain.close()
    return Section("Ingest over HTTP, durable", figures, machine(), load.so_far())


def _registered(path: Path, jobs: Sequence[str]) -> str:
    """A key to a new store that knows these jobs, and those of the batches."""
    backend = SqliteBackend(path)
    project = backend.create_project("default")
    store = backend.store(project)
    of_batches = [
        "ft-bench-alone",
        "ft-bench-shared",
        "ft-bench-beside",
        *(f"ft-bench-of-{r}" for r in range(4)),
    ]
    for job in [*of_batches, *jobs]:
        store.create_job(DETAILS, job)
    _, key = backend.create_key(project, ["read", "write"])
    backend.close()
    return key


class _Ingest:
    """The server that is written to, and what stands beside it."""

    def __init__(self, server: ServerProcess, bare: ServerProcess, plain: Plain, key: str) -> None:
        self._server, self._bare, self._plain, self._key = server, bare, plain, key

    def batches(
        self, name: str, places: Sequence[Place], peers: Sequence[Yardstick] = ()
    ) -> Figure:
        """Batches of 1,000, a process for each place."""
        rates, bare_rates, table, file, cpu, waits = [], [], [], [], [], []
        for turn in range(ROUNDS):
            outcomes, used = self._written(places, turn)
            rates.append(_rate(outcomes, BATCH))
            cpu.append(used / (BATCHES * BATCH))
            waits += latencies(outcomes)
            bare_rates.append(_rate(together(self._writings(self._bare, places, 0)), BATCH))
            table.append(self._plain.table_rate())
            file.append(self._plain.file_rate())
        return figure(
            f"ingest, 1,000 a batch, {name}",
            "/s",
            rates,
            goals=BATCHES_GOALS if peers else BATCHES_GOALS[:1],
            cpu=median(cpu),
            yardsticks=[
                Yardstick(TABLE, median(table)),
                Yardstick(FILE, median(file)),
                Yardstick("bare uvicorn takes the bodies", median(bare_rates)),
                *peers,
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
            goals=[SINGLES_GOAL],
            cpu=median(cpu),
            yardsticks=[
                Yardstick("INSERT, 1 a commit", self._plain.table_rate(1, 200)),
                Yardstick("append and fsync, 1 each", self._plain.file_rate(1, 200)),
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

    def beside_reads(self, jobs: Sequence[str]) -> Iterator[Figure]:
        """A writer of batches and four readers of a small job at once, beside each alone."""
        place = [("ft-bench-beside", 0)]
        path = questions.metrics(jobs[0], "resolution=100")
        reading = Asking(self._server.port, path, self._key, 4, 4000, _READING_SECONDS, True)
        read_alone = latencies(together([reading]))
        wrote_alone = _rate(together(self._writings(self._server, place, 0)), BATCH)
        both = together([reading, *self._writings(self._server, place, 1)])
        yield figure(
            "batches of 1,000 while four connections read",
            "/s",
            [_rate(both[1:], BATCH)],
            yardsticks=[Yardstick("nobody reads", wrote_alone)],
        )
        yield figure(
            "small read, four connections, while a writer sends batches of 1,000",
            "s",
            latencies(both[:1]),
            yardsticks=[Yardstick("nobody writes", median(read_alone))],
        )


class Plain:
    """The same rows, by nothing but SQLite's driver and by nothing but a file."""

    def __init__(self, folder: Path) -> None:
        self._table = PlainTable(folder / "plain-ingest.db")
        self._file = PlainFile(folder / "plain-ingest.lines")
        self._step = 0

    def table_rate(self, size: int = BATCH, times: int = PLAIN_BATCHES) -> float:
        """Snapshots a second, so many a commit."""
        return size * times / sum(self._table.insert(rows) for rows in self._rows(size, times))

    def file_rate(self, size: int = BATCH, times: int = PLAIN_BATCHES) -> float:
        """Snapshots a second, so many an fsync."""
        lines = (b"\n".join([row[3] for row in rows]) for rows in self._rows(size, times))
        return size * times / sum(map(self._file.append, lines))

    def _rows(self, size: int, times: int) -> Iterator[list[PlainRow]]:
        for _ in range(times):
            yield plain_rows(1, self._step, train_snapshots(self._step, size))
            self._step += size

    def close(self) -> None:
        """Let go of both."""
        self._table.close()
        self._file.close()


def _rate(outcomes: Sequence[Outcome], snapshots: int) -> float:
    """Snapshots a second, so many in each answer."""
    return len(latencies(outcomes)) * snapshots / wall(outcomes)


def _waited(waits: Sequence[float], what: str) -> str:
    spread = Spread.of(waits)
    return f"a {what} waits {shown(spread.median, unit='s')}, p99 {shown(spread.p99, unit='s')}"
