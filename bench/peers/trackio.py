"""trackio: its own server, `trackio.log` to it, and the calls that its dashboard and CLI make."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.peers import SAMPLE, Ask, Row, Told, main

READY = "/version"
SIZES = (1_000, 100_000)
SAMPLES_AT_START = False
PROJECT, TOKEN = "bench", "bench-token"


def serve(folder: str, port: int, sampled: bool) -> None:
    """Its dashboard, which is its server, too."""
    os.environ.update(TRACKIO_DIR=folder, TRACKIO_WRITE_TOKEN=TOKEN)
    import trackio

    trackio.show(open_browser=False, host="127.0.0.1", server_port=port, block_thread=True)


def write(rows: Sequence[Row], folder: str, port: int) -> Told:
    """`trackio.log` for each step, to the server; `finish` waits until it has them all."""
    os.environ.update(TRACKIO_DIR=f"{folder}/client", TRACKIO_WRITE_TOKEN=TOKEN)
    import trackio

    name = f"run-{len(rows)}"
    trackio.init(
        project=PROJECT,
        name=name,
        server_url=f"http://127.0.0.1:{port}",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    for row in rows:
        trackio.log(row.values, step=row.step)
    trackio.finish()
    return {"run": name}


def full(ask: Ask, told: Told) -> list[bytes]:
    """The only call that returns everything."""
    return [ask("/api/get_snapshot", {"project": PROJECT, "run": told["run"]})]


def sampled(ask: Ask, told: Told) -> list[bytes]:
    """What a chart asks for, with 100 points, of which it returns some 70."""
    runs = [{"run": told["run"]}]
    question = {"project": PROJECT, "runs": runs, "max_points": SAMPLE}
    return [ask("/api/get_logs_batch", question)]


def tail(ask: Ask, told: Told) -> list[bytes]:
    """A window around a step."""
    question = {
        "project": PROJECT,
        "run": told["run"],
        "around_step": told["steps"] - 5,
        "window": 5,
    }
    return [ask("/api/get_snapshot", question)]


def points(bodies: Sequence[bytes]) -> int:
    """Values in rows and series, whichever it sent."""
    return sum(body.count(b'"step":') for body in bodies)


if __name__ == "__main__":
    main(serve, write, client="trackio")
