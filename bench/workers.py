"""Two worker processes beside one, turn by turn, each service on a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import questions
from bench.data import BATCH, DETAILS, SMALL, train_snapshots
from bench.figures import Figure, Section, Spread, Yardstick, figure, shown
from bench.goals import Goal
from bench.loads import Asking, Outcome, Trickling, Writing, latencies, together, wall
from bench.machine import Load, machine
from bench.processes import ServerProcess, tunelog_server
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch

ROUNDS = 5
CLIENTS = 50
BATCHES = 40
ONE = "one worker"
SINGLES_GOAL = Goal("≥", 3000)
LATENCY_GOAL = Goal("≤", 0.005)
"""A delayed acknowledgement would cost 40 ms of each request."""

JOBS = [f"ft-bench-{number}" for number in range(CLIENTS)]
READ = questions.metrics(SMALL, "resolution=100")

Loads = Sequence[Asking | Trickling | Writing]


class _Taken(NamedTuple):
    """What came of every turn of a service, and the mean CPU seconds of a request."""

    outcomes: list[list[Outcome]]
    cpu: float

    def rates(self, size: int) -> list[float]:
        """So many of something in each answer, a second."""
        return [len(latencies(turn)) * size / wall(turn) for turn in self.outcomes]

    def waits(self) -> list[float]:
        """Every answer's seconds."""
        return [wait for turn in self.outcomes for wait in latencies(turn)]


class _Service(NamedTuple):
    """A service and a key to it."""

    server: ServerProcess
    key: str

    def asked(self, connections: int, varied: bool) -> Loads:
        """Small reads."""
        return [Asking(self.server.port, READ, self.key, connections, 4000, 1.5, varied)]

    def trickled(self, turn: int) -> Loads:
        """Single snapshots, a client for each job, half of them in each of two processes."""
        port, first = self.server.port, 1000 * turn
        halves = (JOBS[::2], JOBS[1::2])
        return [Trickling(port, self.key, half, first, 400, 2.0) for half in halves]

    def written(self, turn: int) -> Loads:
        """Batches of four writers, a job each."""
        each = BATCHES // 4
        first = 100_000 + turn * each * BATCH
        return [Writing(self.server.port, self.key, job, 0, first, each) for job in JOBS[:4]]


def measure(folder: Path) -> Section:
    """What two workers make of small reads and of writes, with what one makes of them."""
    load = Load()
    keys = [_stored(folder / f"workers-{count}.db") for count in (1, 2)]
    with (
        tunelog_server(folder / "workers-1.db") as one,
        tunelog_server(folder / "workers-2.db", workers=2) as two,
    ):
        services = (_Service(one, keys[0]), _Service(two, keys[1]))
        figures = list(_figures(services))
    return Section("Two workers beside one", figures, machine(), load.so_far())


def _stored(path: Path) -> str:
    """A key to a new store that knows these jobs, and a history of 1,000 steps."""
    backend = SqliteBackend(path)
    store = backend.store(project := backend.create_project("default"))
    for job in (SMALL, *JOBS):
        store.create_job(DETAILS, job)
    store.append(SMALL, Batch(snapshots=train_snapshots(0, 1000), attempt=1, first_seq=0))
    _, key = backend.create_key(project, ["read", "write"])
    backend.close()
    return key


def _taken(
    services: Sequence[_Service], load: Callable[[_Service, int], Loads]
) -> Sequence[_Taken]:
    """A load on each service, turn by turn."""
    outcomes: list[list[list[Outcome]]] = [[] for _ in services]
    cpu = [0.0 for _ in services]
    for turn in range(ROUNDS):
        for i, service in enumerate(services):
            begun = service.server.cpu_seconds()
            outcomes[i].append(together(load(service, turn)))
            cpu[i] += service.server.cpu_seconds() - begun
    return [
        _Taken(of, used / sum(len(latencies(turn)) for turn in of))
        for of, used in zip(outcomes, cpu, strict=True)
    ]


def _rate(
    name: str, taken: Sequence[_Taken], *, size: int = 1, goals: Sequence[Goal] = ()
) -> Figure:
    one, two = taken
    return figure(
        f"{name}, 2 workers",
        "/s",
        two.rates(size),
        goals=goals,
        cpu=two.cpu / size,
        yardsticks=[Yardstick(ONE, median(one.rates(size)))],
        note=f"{_waited(two)}; with one {_waited(one)}, {shown(one.cpu / size, unit='s')} of CPU",
    )


def _waits(name: str, taken: Sequence[_Taken]) -> Figure:
    one, two = taken
    return figure(
        f"{name}, 2 workers",
        "s",
        two.waits(),
        goals=[LATENCY_GOAL],
        cpu=two.cpu,
        yardsticks=[Yardstick(ONE, median(one.waits()))],
    )


def _waited(taken: _Taken) -> str:
    spread = Spread.of(taken.waits())
    return f"a request waits {shown(spread.median, unit='s')}, p99 {shown(spread.p99, unit='s')}"


def _figures(services: Sequence[_Service]) -> Iterator[Figure]:
    def asked(connections: int, *, varied: bool) -> Sequence[_Taken]:
        return _taken(services, lambda service, _: service.asked(connections, varied))

    yield _waits("small read, no address asked twice, 1 connection", asked(1, varied=True))
    for name, varied in (("no address asked twice", True), ("a repeated address", False)):
        for connections in (8, 32):
            taken = asked(connections, varied=varied)
            yield _rate(f"small read, {name}, {connections} connections", taken)
    singles = _taken(services, lambda service, turn: service.trickled(turn))
    yield _rate(f"ingest, 1 a request, {CLIENTS} clients", singles, goals=[SINGLES_GOAL])
    batches = _taken(services, lambda service, turn: service.written(turn))
    yield _rate("ingest, 1,000 a batch, 4 writers, a job each", batches, size=BATCH)
