"""The peers of bench.peers, measured: each in its own environment, its server on loopback."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Self
from uuid import uuid4

from msgspec import Struct

from bench.clients import Connection, get, post
from bench.data import SECOND, train_snapshots
from bench.figures import Figure, Section, Yardstick, figure, repeat, shown
from bench.machine import Load, machine
from bench.peers import METRICS, SAMPLE, Ask, Row, Told
from bench.processes import ServerProcess, bare_server
from bench.questions import FULL, SAMPLED, TAIL

NAMES = ("mlflow", "aim", "trackio", "tensorboard")
QUESTIONS = {FULL: "full", SAMPLED: "sampled", TAIL: "tail"}
"""By the words of the tables, the functions of a peer's module."""

PATIENCE = 300.0
"""Seconds for all of a peer; what is not measured by then is left out."""

WORKERS = 8
"""More processes than any peer answers with."""

_CALLS_NOBODY = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "AIM_UI_TELEMETRY_ENABLED": "0",
}
_ROOT = Path(__file__).parents[1]
ENVIRONMENTS = _ROOT / ".peers"
"""What scripts/peers builds."""


class RefusedError(RuntimeError):
    """A peer answered with another status than 200."""


class Answered(Struct, frozen=True):
    """How a peer answered a question.

    Attributes:
        seconds: how long it took, each time.
        from_memory: how long as many bytes from memory took, each time.
        cpu: the mean of its CPU seconds.
        size: bytes of all answers to the question.
    """

    seconds: list[float]
    from_memory: list[float]
    cpu: float
    size: int


class PeerRun(Struct, frozen=True):
    """What a peer did with a run of so many steps.

    Attributes:
        name: with its version.
        steps: of the run.
        rate: snapshots a second that it took from its own client.
        answers: by question; those that it has.
        memory: anonymous memory of its processes after that.
        disk: bytes on disk for a snapshot.
    """

    name: str
    steps: int
    rate: float
    answers: dict[str, Answered]
    memory: int
    disk: float


class Peers:
    """All that were measured, and what is to be said of those that were not."""

    def __init__(self, runs: Sequence[PeerRun], left_out: Mapping[str, str]) -> None:
        self.runs, self.left_out = runs, left_out

    def answers(self, question: str, steps: int) -> list[Yardstick]:
        """Every peer's median of a question about a run of exactly so many steps."""
        return [
            Yardstick(run.name, median(run.answers[question].seconds), is_peer=True)
            for run in self.runs
            if run.steps == steps and question in run.answers
        ]

    def rates(self) -> list[Yardstick]:
        """How many snapshots a second each took at best."""
        best: dict[str, float] = {}
        for run in self.runs:
            best[run.name] = max(run.rate, best.get(run.name, 0.0))
        return [Yardstick(name, rate, is_peer=True) for name, rate in best.items()]


def measure(folder: Path, most: int, environments: Path = ENVIRONMENTS) -> tuple[Peers, Section]:
    """Every peer that is installed, with its runs of at most so many steps."""
    load = Load()
    runs: list[PeerRun] = []
    left_out: dict[str, str] = {}
    held = folder / "held-peers"
    held.mkdir()
    with bare_server(held) as bare:
        memory = _Memory(bare.port, held)
        for name in NAMES:
            print(f"{name}: its runs, for at most {PATIENCE:.0f} s", file=sys.stderr)
            try:
                python = environments / name / "bin" / "python"
                _measure(_Peer(name, python, folder / name, memory), most, runs)
            except (OSError, RuntimeError) as error:
                left_out[name] = str(error)[:200]
                print(f"  {name}: {error}", file=sys.stderr)
    figures = [figure for run in runs for figure in _figures(run)]
    notes = "".join(f"; {name}: {why}" for name, why in left_out.items())
    section = Section(
        "The peers, by their own clients and servers", figures, machine(), load.so_far() + notes
    )
    return Peers(runs, left_out), section


def _figures(run: PeerRun) -> Iterator[Figure]:
    name = f"{run.name}, {run.steps:,} steps"
    disk = f"{run.disk:,.0f} B on disk a snapshot"
    yield figure(f"{name}: written by its client", "/s", [run.rate], note=disk, memory=run.memory)
    for question, answered in run.answers.items():
        yield figure(
            f"{name}: {question}",
            "s",
            answered.seconds,
            cpu=answered.cpu,
            yardsticks=[Yardstick("bytes from memory", median(answered.from_memory))],
            note=shown(answered.size, unit="B"),
        )


# ---------------------------------------------------------------- one peer


def _measure(peer: _Peer, most: int, runs: list[PeerRun]) -> None:
    """Add what a peer does to the runs; an error says why there is no more."""
    told_of = []
    with peer.server("all") as server:
        for steps in (size for size in peer.module.SIZES if size <= most):
            told, run = peer.run(server, steps)
            told_of.append((told, run))
            runs.append(run)
    if peer.module.SAMPLES_AT_START:
        with peer.server("sampled") as server:
            for told, run in told_of:
                peer.await_points(server, told, SAMPLE * len(METRICS))
                run.answers[SAMPLED] = peer.answered(server, told, SAMPLED)


class _Peer:
    """A peer that is installed, and where it keeps what it is given."""

    def __init__(self, name: str, python: Path, folder: Path, memory: _Memory) -> None:
        if not python.exists():
            raise RuntimeError("it is not installed (scripts/peers)")
        self.module: ModuleType = importlib.import_module(f"bench.peers.{name}")
        self._name = f"{name} {version(name, python)}"
        self._command = [str(python), "-m", self.module.__name__]
        self._folder, self._kept = folder, folder / "kept"
        self._kept.mkdir(parents=True)
        self._variables = {**_CALLS_NOBODY, "HOME": str(folder), "TMPDIR": str(folder)}
        self._memory = memory
        self._end = time.monotonic() + PATIENCE

    def server(self, which: str) -> ServerProcess:
        """Its server, of `all` points or of the `sampled`."""
        command = [*self._command, "serve", str(self._kept), which]
        return ServerProcess(command, self.module.READY, self._variables, self._left())

    def run(self, server: ServerProcess, steps: int) -> tuple[Told, PeerRun]:
        """Have a run written, and read it; RuntimeError if it takes too long."""
        before = _size(self._kept)
        told = self._written(server.port, steps)
        self.await_points(server, told, steps * len(METRICS))
        asked = [question for question in QUESTIONS if self._has(question)]
        if steps == min(self.module.SIZES):
            self._warm(server, told, asked)
        answers = {question: self.answered(server, told, question) for question in asked}
        disk = (_size(self._kept) - before) / steps
        rate = steps / told["seconds"]
        return told, PeerRun(self._name, steps, rate, answers, server.memory(), disk)

    def _left(self) -> float:
        """Seconds of patience; there are some left, or RuntimeError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self._too_long()
        return left

    def _too_long(self) -> RuntimeError:
        return RuntimeError(f"not all of it was done within {PATIENCE:.0f} s")

    def _has(self, question: str) -> bool:
        if question == SAMPLED and self.module.SAMPLES_AT_START:
            return False  # asked of another server
        return hasattr(self.module, QUESTIONS[question])

    def _written(self, port: int, steps: int) -> Told:
        rows = self._folder / f"rows-{steps}"
        with rows.open("w") as file:
            for step in train_snapshots(0, steps):
                row = Row(step.global_step, step.logged_at / SECOND, dict(step.values))
                file.write(json.dumps(row) + "\n")
        try:
            done = subprocess.run(
                [*self._command, "write", str(self._kept), str(rows), str(port)],
                cwd=_ROOT,
                env={**os.environ, **self._variables},
                capture_output=True,
                text=True,
                timeout=self._left(),
            )
        except subprocess.TimeoutExpired:
            raise self._too_long() from None
        if done.returncode:
            raise RuntimeError(f"it could not write: {done.stderr[-1000:]}")
        told: Told = json.loads(done.stdout.splitlines()[-1])
        return told

    def await_points(self, server: ServerProcess, told: Told, least: int) -> None:
        """Wait until so many points can be read; what is not there yet may be a 404."""
        with _Asker(server.port) as ask:
            while self._points(ask, told) < least:
                time.sleep(min(0.5, self._left()))

    def _points(self, ask: Ask, told: Told) -> int:
        try:
            return int(self.module.points(self.module.full(ask, told)))
        except RefusedError:
            return 0

    def _warm(self, server: ServerProcess, told: Told, asked: Sequence[str]) -> None:
        """Ask everything on new connections: a worker that has yet to load its code is not slow."""
        for _ in range(WORKERS):
            with _Asker(server.port) as ask:
                for question in asked:
                    getattr(self.module, QUESTIONS[question])(ask, told)

    def answered(self, server: ServerProcess, told: Told, question: str) -> Answered:
        """Ask a question again and again."""
        read = getattr(self.module, QUESTIONS[question])
        with _Asker(server.port) as ask:
            bodies = read(ask, told)
            if not self.module.points(bodies):
                raise RuntimeError(f"it answers nothing to {question!r}")
            with self._memory.of(b"".join(bodies)) as plain:
                begun = server.cpu_seconds()
                taken = repeat(lambda: read(ask, told), plain, most=9, seconds=4.0, warm=True)
                cpu = (server.cpu_seconds() - begun) / len(taken.seconds)
        return Answered(taken.seconds, taken.beside[0], cpu, sum(map(len, bodies)))


class _Memory:
    """Bare uvicorn, which has what it is given in memory."""

    def __init__(self, port: int, held: Path) -> None:
        self._port, self._held = port, held

    @contextmanager
    def of(self, data: bytes) -> Iterator[Callable[[], object]]:
        """A call that gets these bytes in one answer."""
        path = f"/{uuid4()}"
        (self._held / path[1:]).write_bytes(data)
        with Connection(self._port) as connection:
            connection.ask(get(path))
            yield lambda: connection.ask(get(path))


class _Asker(Ask):
    """A connection that is kept as long as the peer keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def __call__(self, path: str, body: object = None) -> bytes:
        request = get(path) if body is None else post(path, "", json.dumps(body).encode())
        if self._connection is None:
            self._connection = Connection(self._port, keep=True)
        answer = self._connection.ask(request)
        if answer.headers.get("connection", "").lower() == "close":
            self._let_go()
        if answer.status != 200:
            raise RefusedError(f"{path} answers {answer.status}: {answer.body[:200]!r}")
        return answer.body

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.socket.close()
            self._connection = None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def version(name: str, python: Path) -> str:
    """The version of a package in the environment of an interpreter."""
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    (found,) = distributions(name=name, path=[str(site)])
    return found.version
