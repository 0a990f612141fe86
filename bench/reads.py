"""Reads over HTTP of jobs of every length, each beside the same bytes from memory and the peers."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import zstandard

from bench import questions
from bench.beside import Peers
from bench.clients import Answer, Connection, get, post
from bench.data import COMPARED, LARGE, SMALL, WIDE, DataSet, snapshots_of
from bench.figures import Figure, Section, Yardstick, figure, repeat
from bench.goals import PEERS, Goal
from bench.machine import Load, machine
from bench.processes import ServerProcess, bare_server, tunelog_server
from bench.questions import FULL, SAMPLED, TAIL, unasked

MEMORY = "bytes from memory"
OF_SMALL = "that of the 1,000-step job"
FULL_GOAL = Goal("≤", 1.5, MEMORY)
ZSTD_GOAL = Goal("≤", 0.5, f"identity {MEMORY}")
PEERS_GOAL = Goal("≤", 1 / 20, PEERS)
GROWTH_GOALS = {SAMPLED: Goal("≤", 3.0, OF_SMALL), TAIL: Goal("≤", 2.0, OF_SMALL)}
OTHERS_OF = 10_000
"""From so many steps on a job is asked more than what peers are asked, too; and the shortest."""

Request = Callable[[], bytes]


def measure(data: DataSet, folder: Path, peers: Peers) -> Section:
    """Every question; small answers at an address that was not asked before."""
    load = Load()
    held = folder / "held-reads"
    held.mkdir()
    with bare_server(held) as bare, tunelog_server(data.path) as server:
        reads = _Reads(data, server, bare, held)
        figures = [
            *reads.of_jobs(peers),
            *reads.growth(),
            *reads.encoded(),
            *reads.of_many(),
        ]
    figures += _restarted(data)
    title = "Reads over HTTP, one keep-alive connection, no answer from the service's memory"
    return Section(title, figures, machine(), load.so_far())


class _Reads:
    """A service, and bare uvicorn that has the same answers in memory."""

    def __init__(
        self, data: DataSet, server: ServerProcess, bare: ServerProcess, held: Path
    ) -> None:
        self._data, self._server, self._bare, self._held = data, server, bare, held
        self._numbers = count()

    def of_jobs(self, peers: Peers) -> Iterator[Figure]:
        """What can be asked of one job, the shortest first."""
        for steps, job in self._data.jobs.items():
            for question, path in questions.comparable(job, steps).items():
                yield self._read(
                    f"{question}, {steps:,} steps",
                    self._get(path),
                    goals=[FULL_GOAL] if question == FULL and job == LARGE else [],
                    peers=peers.answers(question, steps),
                )
            if steps > OTHERS_OF or job == SMALL:
                for question, path in questions.others(job, steps).items():
                    yield self._read(f"{question}, {steps:,} steps", self._get(path))
        yield self._read(f"{FULL}, 100 steps of 100 metrics", self._get(questions.metrics(WIDE)))

    def growth(self) -> Iterator[Figure]:
        """The largest job beside the small one, turn by turn."""
        large = questions.comparable(LARGE, self._data.steps)
        small = questions.comparable(SMALL, 1000)
        for question, goal in GROWTH_GOALS.items():
            with Connection(self._server.port) as one, Connection(self._server.port) as other:
                taken = repeat(
                    _asking(one, self._get(large[question])),
                    _asking(other, self._get(small[question])),
                    most=100,
                )
            yield figure(
                f"{question}, {self._data.steps:,} steps against 1,000",
                "s",
                taken.seconds,
                goals=[goal],
                yardsticks=[Yardstick(OF_SMALL, median(taken.beside[0]))],
            )

    def encoded(self) -> Iterator[Figure]:
        """The full read of the largest job, compressed."""
        path, steps = questions.metrics(LARGE), self._data.steps
        plain = self._answer(get(path, self._data.secret, accept_encoding="identity"))
        returned = plain.headers["tunelog-returned"]
        if returned != str(snapshots_of(steps)):
            raise RuntimeError(f"a full read returned {returned} snapshots")
        (self._held / "identity").write_bytes(plain.body)
        for encoding, goals in (("zstd", [ZSTD_GOAL]), ("gzip", [])):
            request = get(path, self._data.secret, accept_encoding=encoding)
            answer = self._answer(request)
            if (encoding, plain.body) != (_encoding(answer), _PLAIN[encoding](answer.body)):
                raise RuntimeError(f"a full read differs in {encoding}")
            name = f"{FULL}, {steps:,} steps, {encoding}"
            yield self._read(name, partial(bytes, request), goals=goals, identity=True)

    def of_many(self) -> Iterator[Figure]:
        """Many jobs in one call, and one of very many jobs."""
        body = {"jobs": COMPARED, "resolution": 100}
        query = post("/v1/metrics/query", self._data.secret, json.dumps(body).encode())
        yield self._read("bulk: resolution=100 of 50 jobs of 1,000 steps", partial(bytes, query))
        many = self._data.many
        one = self._get(questions.metrics(many[len(many) // 2]))
        yield self._read(f"{FULL} of one of {len(many):,} jobs of ten steps", one)
        page = get("/v1/fine-tunes?limit=100", self._data.secret)
        yield self._read(f"list 100 of {len(many):,} jobs", partial(bytes, page))

    # ------------------------------------------------------------ how

    def _get(self, path: str) -> Request:
        return partial(_unasked, path, self._data.secret)

    def _read(
        self,
        name: str,
        request: Request,
        *,
        goals: list[Goal] | None = None,
        peers: list[Yardstick] | None = None,
        identity: bool = False,
    ) -> Figure:
        """`identity`: beside the bytes of the plain answer, too."""
        body = self._answer(request()).body
        kept = f"answer-{next(self._numbers)}"
        (self._held / kept).write_bytes(body)
        beside = [kept, "identity"] if identity else [kept]
        with Connection(self._server.port) as ours, Connection(self._bare.port) as plain:
            calls = [_asking(plain, partial(get, f"/{file}")) for file in beside]
            for call in calls:
                call()
            cpu = self._server.cpu_seconds()
            taken = repeat(_asking(ours, request), *calls, most=100, warm=True)
            cpu = (self._server.cpu_seconds() - cpu) / len(taken.seconds)
        names = [MEMORY, f"identity {MEMORY}"]
        plain_ones = [
            Yardstick(name, median(seconds))
            for name, seconds in zip(names, taken.beside, strict=False)
        ]
        return figure(
            name,
            "s",
            taken.seconds,
            goals=[*(goals or []), *([PEERS_GOAL] if peers else [])],
            cpu=cpu,
            yardsticks=[*plain_ones, *(peers or [])],
            note=f"{len(body):,} B",
        )

    def _answer(self, request: bytes) -> Answer:
        with Connection(self._server.port, keep=True) as connection:
            answer = connection.ask(request)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status} {answer.body[:200]!r}")
        return answer


_PLAIN: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "zstd": lambda body: (
        zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    ),
}


def _encoding(answer: Answer) -> str:
    return answer.headers.get("content-encoding", "identity")


def _unasked(path: str, secret: str) -> bytes:
    return get(unasked(path), secret, accept_encoding="identity")


def _asking(connection: Connection, request: Request) -> Callable[[], None]:
    def ask() -> None:
        answer = connection.ask(request())
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")

    return ask


# ---------------------------------------------------------------- after a restart


def _restarted(data: DataSet) -> Iterator[Figure]:
    """The first read of a service that has just started, its file not in the system's cache."""
    for question, path in questions.comparable(LARGE, data.steps).items():
        cold, warm = [], []
        for _ in range(3):
            _forget(data.path)
            with tunelog_server(data.path) as server, Connection(server.port) as connection:
                request = _asking(connection, partial(_unasked, path, data.secret))
                cold += repeat(request, most=1, warm=True).seconds
                warm += repeat(request, most=1, warm=True).seconds
        yield figure(
            f"{question}, {data.steps:,} steps, the first read after a restart, cold cache",
            "s",
            cold,
            yardsticks=[Yardstick("the second read", median(warm))],
        )


def _forget(path: Path) -> None:
    """Have the system drop what it has of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
