"""How a cluster bears more and more writers: what was seen, as a table and as a drawing.

`python -m bench.growth` draws docs/growth.svg anew from bench/growth.json, and prints the tables of
docs/scale.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

KEPT: Final = Path(__file__).with_name("growth.json")
DRAWN: Final = Path(__file__).parents[1] / "docs/growth.svg"
HEADS: Final = (
    "writers",
    "snapshots/s",
    "waited p50",
    "p99",
    "most",
    "troubles",
    "cores: services",
    "ClickHouse",
    "ZooKeeper",
    "network MB/s",
    "B/snapshot",
)


class Step(Struct, frozen=True, kw_only=True):
    """So many writers for a while.

    Attributes:
        writers: each of a job, and one snapshot a second.
        rate: snapshots acknowledged a second.
        p50, p99, most: seconds from when a snapshot was due to its receipt.
        troubles: requests with another answer than 200.
        missing: snapshots without a receipt at the end.
        services, engine, keeper: cores that the services, the ClickHouse nodes and ZooKeeper used.
        clients: cores that the load itself used.
        network: bytes a second through the loopback device, but those of the writers.
        arriving: bytes a second of the writers' requests and their answers.
        disk: bytes on disk for a snapshot, on one replica, as it was then.
    """

    writers: int
    rate: float
    p50: float
    p99: float
    most: float
    troubles: int
    missing: int
    services: float
    engine: float
    keeper: float
    clients: float
    network: float
    arriving: float
    disk: float


class Growth(Struct, frozen=True, kw_only=True):
    """A cluster, and more and more writers.

    Attributes:
        shards, replicas: of the cluster; two services are in front of it.
        metrics: of each snapshot.
        seconds: of each step.
        machine, load: what it ran on, and how busy that was.
        steps: with fewer writers first.
        merged: bytes on disk for a snapshot, on one replica, once ClickHouse had merged its parts.
    """

    shards: int
    replicas: int
    metrics: int
    seconds: float
    machine: str
    load: str
    steps: list[Step]
    merged: float

    @property
    def name(self) -> str:
        """As `2x2`."""
        return f"{self.shards}x{self.replicas}"


def save(growths: Sequence[Growth], path: Path = KEPT) -> None:
    """Keep what was seen, as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(growths)) + b"\n")


def last(path: Path = KEPT) -> list[Growth]:
    """What was kept last."""
    return msgspec.json.decode(path.read_bytes(), type=list[Growth])


def markdown(growths: Sequence[Growth]) -> str:
    """A table for each cluster."""
    lines: list[str] = []
    for growth in growths:
        lines += [
            f"### {growth.shards} shards of {growth.replicas} replicas, {growth.metrics} metrics",
            "",
            f"{growth.seconds:.0f} s a row. {growth.machine}; {growth.load}.",
            f"On disk after merges: {growth.merged:.0f} B a snapshot on each replica.",
            "",
            _row(HEADS),
            _row(["---"] * len(HEADS)),
            *(_row(_cells(step)) for step in growth.steps),
            "",
        ]
    return "\n".join(lines)


def sizing(growths: Sequence[Growth], rate: int = 10_000) -> str:
    """What so many snapshots a second would take, reckoned from the row with the most of them."""
    lines = [
        _row(("", *(f"{growth.name}" for growth in growths))),
        _row(["---"] * (len(growths) + 1)),
    ]
    columns = [_needs(growth, rate) for growth in growths]
    lines += [_row([name, *(column[name] for column in columns)]) for name in columns[0]]
    return "\n".join(lines)


def _needs(growth: Growth, rate: int) -> dict[str, str]:
    step = max(growth.steps, key=lambda step: step.rate)
    times = rate / step.rate
    stored = growth.merged * rate * 86_400
    return {
        "measured at, snapshots/s": f"{step.rate:,.0f}",
        "services, cores": f"{step.services * times:.1f}",
        "ClickHouse, cores, all replicas": f"{step.engine * times:.1f}",
        "ZooKeeper, cores": f"{step.keeper * times:.1f}",
        "from and to the writers, MB/s": f"{step.arriving * times / 1e6:.1f}",
        "between services, ClickHouse and ZooKeeper, MB/s": f"{step.network * times / 1e6:.1f}",
        "on disk a day, one replica, GB": f"{stored / 1e9:.0f}",
        "on disk a day, all replicas, GB": f"{stored * growth.replicas / 1e9:.0f}",
    }


def _cells(step: Step) -> list[str]:
    waits = (f"{seconds * 1000:,.0f} ms" for seconds in (step.p50, step.p99, step.most))
    troubles = f"{step.troubles}" + f", {step.missing} missing" * (step.missing > 0)
    cores = (f"{cores:.2f}" for cores in (step.services, step.engine, step.keeper))
    network = f"{step.network / 1e6:.1f}"
    return [
        f"{step.writers:,}", f"{step.rate:,.0f}", *waits, troubles, *cores, network,
        f"{step.disk:.0f}",
    ]  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


# ---------------------------------------------------------------- the drawing

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 44
_COLOURS = ("#0b6e99", "#c4501b", "#6b8e23", "#7a4fa3")

Point = tuple[float, float]
Line = tuple[str, list[Point]]


def drawing(growths: Sequence[Growth]) -> str:
    """An SVG: how long writers wait and which cores that takes, by the number of writers."""
    waits: list[Line] = []
    for growth in growths:
        waits += [
            (f"{growth.name} p99", [(s.writers, s.p99 * 1000) for s in growth.steps]),
            (f"{growth.name} p50", [(s.writers, s.p50 * 1000) for s in growth.steps]),
        ]
    panels = [("a snapshot waits for its receipt, ms", waits)]
    for growth in growths:
        cores: list[Line] = [
            ("services", [(s.writers, s.services) for s in growth.steps]),
            ("ClickHouse", [(s.writers, s.engine) for s in growth.steps]),
            ("ZooKeeper", [(s.writers, s.keeper) for s in growth.steps]),
        ]
        panels.append((f"cores, {growth.name}", cores))
    parts = [
        f'<g transform="translate({at * _WIDTH} 0)">{"".join(_panel(title, lines))}</g>'
        for at, (title, lines) in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(panels)} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


def _panel(title: str, lines: Sequence[Line]) -> Iterator[str]:
    points = [point for _, its in lines for point in its]
    right, top = max(x for x, _ in points), _round_up(max(y for _, y in points))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(point: Point) -> Point:
        return _LEFT + point[0] / right * wide, _TOP + (1 - point[1] / top) * high

    yield f'<text x="{_LEFT}" y="16" font-weight="bold">{title}</text>'
    for part in range(5):
        x, y = place((0, top * part / 4))
        yield f'<path d="M{x} {y:.1f}h{wide}" stroke="#ddd"/>'
        yield f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{top * part / 4:,.4g}</text>'
    for x in sorted({x for x, _ in points}):
        at, y = place((x, 0))
        yield f'<text x="{at:.1f}" y="{y + 16}" text-anchor="middle">{x:,.0f}</text>'
    yield f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 8}" text-anchor="middle">writers</text>'
    for at, (name, its) in enumerate(lines):
        colour = _COLOURS[at % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, its))
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        y = _TOP + 12 + 15 * at
        yield f'<text x="{_LEFT + 10}" y="{y}" fill="{colour}">{name}</text>'


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 or 10 times a power of ten."""
    power = 10.0 ** len(f"{int(value)}") / 10 if value >= 1 else 0.1
    return next(power * step for step in (1, 2, 4, 5, 8, 10) if power * step >= value)


def main() -> None:
    """Draw and print what was kept last."""
    growths = last()
    DRAWN.write_text(drawing(growths))
    print(markdown(growths))
    print(sizing(growths))


if __name__ == "__main__":
    main()
