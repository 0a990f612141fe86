"""Small requests on connections that are kept: how many a second, and how long each waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import questions
from bench.clients import Connection, get
from bench.data import SMALL, DataSet
from bench.figures import Figure, Section, Yardstick, figure, shown
from bench.goals import Goal
from bench.loads import Asking, Outcome, latencies, together, wall
from bench.machine import Load, machine
from bench.processes import ServerProcess, bare_server, tunelog_server

MEMORY = "bytes from memory"
RATE_GOAL = Goal("≥", 0.5, MEMORY)
LATENCY_GOAL = Goal("≤", 0.005)
"""A delayed acknowledgement would cost 40 ms of each request."""

START_GOAL = Goal("≤", 1.0)
REQUESTS = {
    "retrieve a job": (f"/v1/fine-tunes/{SMALL}", False),
    "small read, a repeated address": (questions.metrics(SMALL, "resolution=100"), False),
    "small read, no address asked twice": (questions.metrics(SMALL, "resolution=100"), True),
    "full read of 1,000 steps, a repeated address": (questions.metrics(SMALL), False),
    "full read of 1,000 steps, no address asked twice": (questions.metrics(SMALL), True),
}
"""By name, the path, and whether each request has another address (questions.unasked)."""

_MOST, _SECONDS, _ROUNDS = 4000, 1.0, 3


def measure(data: DataSet, folder: Path) -> Section:
    """Every small request, on one connection and on eight; and how fast a service starts."""
    load = Load()
    held = folder / "held-small"
    held.mkdir()
    figures = list(_starts(folder, data, held))
    with bare_server(held) as bare, tunelog_server(data.path) as server:
        for number, (name, (path, varied)) in enumerate(REQUESTS.items()):
            with Connection(server.port, keep=True) as connection:
                body = connection.ask(get(path, data.secret)).body
            (held / f"small-{number}").write_bytes(body)
            turns = _Turns(server, bare, path, data.secret, varied, f"/small-{number}")
            figures.append(turns.latency(name, len(body)))
            figures.append(turns.rate(name, len(body)))
    return Section("Small requests, connections kept alive", figures, machine(), load.so_far())


def _starts(folder: Path, data: DataSet, held: Path) -> Iterator[Figure]:
    """From the exec to the first 200."""
    bare = [_start(bare_server(held)) for _ in range(3)]
    yardstick = Yardstick("bare uvicorn", median(bare))
    empty = [_start(tunelog_server(folder / f"empty-{number}.db")) for number in range(5)]
    large = [_start(tunelog_server(data.path)) for _ in range(3)]
    for store, seconds in (("an empty store", empty), ("the store of all jobs", large)):
        name = f"start to the first 200, {store}"
        yield figure(name, "s", seconds, goals=[START_GOAL], yardsticks=[yardstick])


def _start(server: ServerProcess) -> float:
    with server:
        return server.start_seconds


class _Turns:
    """A request to the service and one for the same bytes from memory, turn by turn."""

    def __init__(
        self,
        server: ServerProcess,
        bare: ServerProcess,
        path: str,
        key: str,
        varied: bool,
        held: str,
    ) -> None:
        self._servers = (server, bare)
        self._asked = ((server.port, path, key, varied), (bare.port, held, "", False))

    def latency(self, name: str, size: int) -> Figure:
        """On one connection: how long each waits."""
        (ours, cpu), (plain, plain_cpu) = self._taken(1)
        waits = [latencies(outcomes) for outcomes in (ours, plain)]
        return figure(
            f"{name}, 1 connection",
            "s",
            waits[0],
            goals=[LATENCY_GOAL],
            cpu=cpu,
            yardsticks=[Yardstick(MEMORY, median(waits[1]))],
            note=f"{size:,} B; from memory {shown(plain_cpu, unit='s')} of CPU",
        )

    def rate(self, name: str, size: int) -> Figure:
        """On eight connections at once: how many a second."""
        (ours, cpu), (plain, plain_cpu) = self._taken(8)
        rates = [[_rate(outcome) for outcome in outcomes] for outcomes in (ours, plain)]
        return figure(
            f"{name}, 8 connections",
            "/s",
            rates[0],
            goals=[RATE_GOAL] if "small read" in name else [],
            cpu=cpu,
            yardsticks=[Yardstick(MEMORY, median(rates[1]))],
            note=f"{size:,} B; from memory {shown(plain_cpu, unit='s')} of CPU",
        )

    def _taken(self, connections: int) -> list[tuple[list[Outcome], float]]:
        """Of both servers, what came of each turn, and the mean CPU seconds of a request."""
        outcomes: list[list[Outcome]] = [[], []]
        cpu = [0.0, 0.0]
        for _ in range(_ROUNDS):
            for i, (server, asked) in enumerate(zip(self._servers, self._asked, strict=True)):
                port, path, key, varied = asked
                begun = server.cpu_seconds()
                asking = Asking(port, path, key, connections, _MOST, _SECONDS, varied)
                outcomes[i] += together([asking])
                cpu[i] += server.cpu_seconds() - begun
        return [(of, cpu[i] / len(latencies(of))) for i, of in enumerate(outcomes)]


def _rate(outcome: Outcome) -> float:
    return len(outcome.latencies) / wall([outcome])
