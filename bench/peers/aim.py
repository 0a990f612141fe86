"""Aim: `Run.track` into a repository on disk, which its own server reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from bench.peers import SAMPLE, Ask, Row, Told, main

READY = "/api/projects/"
SIZES = (1_000, 10_000)
SAMPLES_AT_START = False
_POINT_BYTES = 8
"""An answer has the values, the steps, the times and the epochs of a series as doubles."""


def serve(folder: str, port: int, sampled: bool) -> None:
    """Its server, over the repository in the folder."""
    command = [str(Path(sys.executable).with_name("aim")), "up", "--host=127.0.0.1"]
    os.execv(command[0], [*command, "--yes", f"--repo={folder}", f"--port={port}"])


def write(rows: Sequence[Row], folder: str, port: int) -> Told:
    """`Run.track` with all values of a step at once; there is no server in its way."""
    from aim import Run

    run = Run(repo=folder, system_tracking_interval=None, log_system_params=False)
    for row in rows:
        run.track(row.values, step=row.step)
    run.close()
    return {"run": run.hash}


def full(ask: Ask, told: Told) -> list[bytes]:
    """All metrics of a run in one search, with room for every point."""
    return [ask(_search(told, told["steps"]))]


def sampled(ask: Ask, told: Told) -> list[bytes]:
    """The same search, with room for 100 points."""
    return [ask(_search(told, SAMPLE))]


def _search(told: Told, points: int) -> str:
    query = {"q": f'run.hash == "{told["run"]}"', "p": points, "report_progress": "false"}
    return f"/api/runs/search/metric/?{urlencode(query)}"


def points(bodies: Sequence[bytes]) -> int:
    """At least so many: what the answers have room for, as they are binary."""
    return sum(map(len, bodies)) // (4 * _POINT_BYTES)


if __name__ == "__main__":
    main(serve, write, client="aim")
