"""The service: a real `tunelog serve` over loopback, and bare uvicorn beside it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import zstandard

from bench import ingest
from bench.clients import Answer, Connection, get
from bench.data import LARGE, SMALL, DataSet
from bench.figures import Figure, Goal, Load, Section, Yardstick, figure, machine, repeat
from bench.loads import Asking, latencies, together, wall
from bench.processes import ServerProcess, bare_server, tunelog_server

START_GOAL = Goal("≤", 1.0)
MEMORY_GOAL = Goal("≤", 150e6)
LATENCY_GOAL = Goal("≤", 0.005)

FULL = f"/v1/fine-tunes/{LARGE}/metrics"
REQUESTS = {
    "retrieve a job": f"/v1/fine-tunes/{SMALL}",
    "small job, resolution=100": f"/v1/fine-tunes/{SMALL}/metrics?resolution=100",
    "small job, all 1,000 steps": f"/v1/fine-tunes/{SMALL}/metrics",
    "large job, resolution=100": f"{FULL}?resolution=100",
}
SMALL_REQUESTS = tuple(REQUESTS)[:2]
_MOST, _SECONDS = 2000, 1.2
_STALL = 2.0
_SLOW_BYTES_PER_SECOND = 30e6

Encodings = Mapping[str, Callable[[bytes], bytes]]


def measure(data: DataSet, folder: Path) -> Section:
    """Every figure of the service, over this data set."""
    load = Load()
    held = folder / "held"
    held.mkdir()
    with bare_server(held) as bare:
        figures = [
            *_starts(folder, held),
            *_full_reads(data, bare, held),
            *_latencies(data, bare, held),
            *ingest.measure(folder, bare),
        ]
    title = f"Service: HTTP over loopback, a job of {data.steps:,} train snapshots"
    return Section(title, figures, machine(), load.so_far())


# ---------------------------------------------------------------- start


def _starts(folder: Path, held: Path) -> Iterator[Figure]:
    seconds, cpu = [], []
    for number in range(5):
        with tunelog_server(folder / f"empty-{number}.db") as server:
            seconds.append(server.start_seconds)
            cpu.append(server.start_cpu)
    bare = []
    for _ in range(3):
        with bare_server(held) as server:
            bare.append(server.start_seconds)
    yield figure(
        "start to first 200, empty store",
        "s",
        seconds,
        goal=START_GOAL,
        cpu=median(cpu),
        yardsticks=[Yardstick("bare uvicorn", median(bare))],
        note="GET /readyz",
    )


# ---------------------------------------------------------------- full reads


def _full_reads(data: DataSet, bare: ServerProcess, held: Path) -> Iterator[Figure]:
    """Each encoding on a server of its own, so that its peak is its own."""
    starts = []
    sizes = set()
    for encoding in ("identity", "gzip", "zstd"):
        request = get(FULL, data.secret, accept_encoding=encoding)
        with tunelog_server(data.path) as server:
            starts.append(server.start_seconds)
            sizes.add(len(_kept(server, request, encoding, held, data.snapshots)))
            yield from _full_read(server, bare, request, encoding, held)
    if len(sizes) != 1:
        raise RuntimeError(f"full reads differ: {sizes} bytes once decompressed")
    with tunelog_server(data.path) as server:
        starts.append(server.start_seconds)
        yield from _slow_read(server, get(FULL, data.secret, accept_encoding="identity"))
    name = "start to first 200, large store"
    yield figure(name, "s", starts, goal=START_GOAL)


def _full_read(
    server: ServerProcess, bare: ServerProcess, request: bytes, encoding: str, held: Path
) -> Iterator[Figure]:
    with Connection(server.port) as ours, Connection(bare.port) as plain, _cpu(server) as used:
        plain.ask(get(f"/{encoding}"))
        taken = repeat(
            lambda: ours.ask(request),
            lambda: plain.ask(get(f"/{encoding}")),
            seconds=3.0,
            warm=True,
        )
    name = f"full read, {encoding}"
    yield figure(
        name,
        "s",
        taken.seconds,
        cpu=used() / len(taken.seconds),
        yardsticks=[
            Yardstick("bytes from memory", median(taken.beside)),
            *_compressing(encoding, held),
        ],
        note=f"{(held / encoding).stat().st_size / 1e6:.1f} MB",
    )
    yield figure(f"{name}: server's peak memory", "B", [server.peak_memory()], goal=MEMORY_GOAL)


def _kept(
    server: ServerProcess, request: bytes, encoding: str, held: Path, snapshots: int
) -> bytes:
    """The text of the answer, which is whole; its bytes are handed to the yardstick."""
    with Connection(server.port, keep=True) as connection:
        answer = connection.ask(request)
    told = (
        answer.headers.get("content-encoding", "identity"),
        answer.headers.get("tunelog-returned"),
    )
    if answer.status != 200 or told != (encoding, str(snapshots)):
        raise RuntimeError(f"answered {answer.status} {answer.headers}")
    (held / encoding).write_bytes(answer.body)
    return _PLAIN[encoding](answer.body)


_PLAIN: Encodings = {
    "identity": lambda body: body,
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}
_COMPRESSED: Encodings = {
    "gzip": lambda text: zlib.compress(text, level=1, wbits=31),
    "zstd": lambda text: zstandard.ZstdCompressor(level=3).compress(text),
}


def _compressing(encoding: str, held: Path) -> Iterator[Yardstick]:
    if encoding in _COMPRESSED:
        text = (held / "identity").read_bytes()
        begun = time.perf_counter()
        _COMPRESSED[encoding](text)
        yield Yardstick(f"{encoding} of the text alone", time.perf_counter() - begun)


def _slow_read(server: ServerProcess, request: bytes) -> Iterator[Figure]:
    begun = time.perf_counter()
    received = 0

    def pace(size: int) -> None:
        nonlocal received
        received += size
        due = begun + _STALL + received / _SLOW_BYTES_PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))

    with Connection(server.port) as connection:
        answer: Answer = connection.ask(request, after=pace)
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}")
    name = "full read, slow reader: server's peak memory"
    note = f"stalls {_STALL:.0f} s, then takes {_SLOW_BYTES_PER_SECOND / 1e6:.0f} MB/s"
    yield figure(name, "B", [server.peak_memory()], goal=MEMORY_GOAL, note=note)


# ---------------------------------------------------------------- small requests


def _latencies(data: DataSet, bare: ServerProcess, held: Path) -> Iterator[Figure]:
    with tunelog_server(data.path) as server:
        for number, (name, path) in enumerate(REQUESTS.items()):
            with Connection(server.port, keep=True) as connection:
                answer = connection.ask(get(path, data.secret))
            (held / f"answer-{number}").write_bytes(answer.body)
            for connections in (1, 8):
                ours = Asking(server.port, path, data.secret, connections, _MOST, _SECONDS)
                plain = Asking(bare.port, f"/answer-{number}", "", connections, _MOST, _SECONDS)
                yield _latency(name, server, ours, plain, len(answer.body))


def _latency(name: str, server: ServerProcess, ours: Asking, plain: Asking, size: int) -> Figure:
    with _cpu(server) as used:
        outcomes = together([ours])
    taken = latencies(outcomes)
    bare = median(latencies(together([plain])))
    plural = "" if ours.connections == 1 else "s"
    return figure(
        f"{name}, {ours.connections} connection{plural}",
        "s",
        taken,
        goal=LATENCY_GOAL if name in SMALL_REQUESTS and ours.connections == 1 else None,
        cpu=used() / len(taken),
        yardsticks=[Yardstick("bytes from memory", bare)],
        note=f"{size:,} B, {len(taken) / wall(outcomes):,.0f}/s",
    )


@contextmanager
def _cpu(server: ServerProcess) -> Iterator[Callable[[], float]]:
    """CPU seconds of the server from here to the end of the block; to be asked after it."""
    begun = server.cpu_seconds()
    used = 0.0
    yield lambda: used
    used = server.cpu_seconds() - begun
