"""A training that does nothing but log ten values a step, by one tool, as its users do.

A process of the Python that has the tool: `python bench/logs.py TOOL CALLS FOLDER`. It prints what
that cost as JSON. numpy is imported first, as every training does; memory is counted from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Log = Callable[[dict[str, float], int], None]
End = Callable[[], None]


def tunelog(folder: str) -> tuple[Log, End]:
    """The service's address and the key come from the environment."""
    import tunelog

    job = tunelog.init("Qwen/Qwen3-0.6B", name="bench", spool=f"{folder}/spool")

    def log(values: dict[str, float], step: int) -> None:
        job.log(values, step=step)

    def end() -> None:
        job.finish()

    return log, end


def wandb(folder: str) -> tuple[Log, End]:
    """Offline: into files, by a service process of its own."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=folder)

    def log(values: dict[str, float], step: int) -> None:
        run.log(values, step=step)

    return log, run.finish


def mlflow(folder: str) -> tuple[Log, End]:
    """Asynchronous logging into a local SQLite store."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.start_run()

    def log(values: dict[str, float], step: int) -> None:
        mlflow.log_metrics(values, step=step, synchronous=False)

    def end() -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()

    return log, end


def trackio(folder: str) -> tuple[Log, End]:
    """Into its local database."""
    os.environ["TRACKIO_DIR"] = folder
    import trackio

    run = trackio.init(project="bench", embed=False)

    def log(values: dict[str, float], step: int) -> None:
        trackio.log(values, step=step)

    assert run is not None
    return log, trackio.finish


def tensorboard(folder: str) -> tuple[Log, End]:
    """PyTorch's SummaryWriter, a call for each value: it has none for several."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(folder)

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


TOOLS = {f.__name__: f for f in (tunelog, wandb, mlflow, trackio, tensorboard)}


def main(tool: str, calls: int, folder: str) -> None:
    """Log so many times, and print what it cost."""
    random = np.random.default_rng(0)
    names = [f"metric_{number}" for number in range(10)]
    rows = [dict(zip(names, map(float, random.random(10)), strict=True)) for _ in range(1000)]
    before = _memory("VmRSS")
    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        log, end = TOOLS[tool](folder)
        logging_begun = time.perf_counter()
        seconds = []
        for step in range(calls):
            values = rows[step % 1000]
            at = time.perf_counter()
            log(values, step)
            seconds.append(time.perf_counter() - at)
        logging_ended = time.perf_counter()
        memory = _memory("VmHWM") - before
        end()
    ended = time.perf_counter()
    told = {
        "seconds": seconds,
        "begin": logging_begun - begun,
        "logging": logging_ended - logging_begun,
        "end": ended - logging_ended,
        "memory": memory,
    }
    print(json.dumps(told))


def _memory(what: str) -> int:
    """Bytes, as /proc tells them."""
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
