"""TensorBoard: event files by tensorboardX, which its own server reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from bench.peers import METRICS, SAMPLE, Ask, Row, Told, main

READY = "/data/environment"
SIZES = (1_000, 100_000)
SAMPLES_AT_START = True
ALL = 1_000_000_000
"""More than any run has; 0, which is to mean all, gives none with its fast loader."""


def serve(folder: str, port: int, sampled: bool) -> None:
    """Its server, told how many points of a series to keep."""
    command = [
        str(Path(sys.executable).with_name("tensorboard")),
        f"--logdir={folder}",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--samples_per_plugin=scalars={SAMPLE if sampled else ALL}",
        "--reload_interval=1",
    ]
    os.execv(command[0], command)


def write(rows: Sequence[Row], folder: str, port: int) -> Told:
    """A call of `add_scalar` for each value: it has none for several."""
    from tensorboardX import SummaryWriter

    name = f"run-{len(rows)}"
    writer = SummaryWriter(f"{folder}/{name}")
    for row in rows:
        for metric, value in row.values.items():
            writer.add_scalar(metric, value, row.step, row.seconds)
    writer.close()
    return {"run": name}


def full(ask: Ask, told: Told) -> list[bytes]:
    """A request for each metric, as its page makes."""
    return [ask(_path(told["run"], name)) for name in METRICS]


def sampled(ask: Ask, told: Told) -> list[bytes]:
    """The same requests: how many points there are was said at the start."""
    return full(ask, told)


def _path(run: str, tag: str) -> str:
    return f"/data/plugin/scalars/scalars?run={quote(run)}&tag={quote(tag, safe='')}"


def points(bodies: Sequence[bytes]) -> int:
    """Triples of time, step and value."""
    return sum(len(json.loads(body)) for body in bodies)


if __name__ == "__main__":
    main(serve, write, client="tensorboardX")
