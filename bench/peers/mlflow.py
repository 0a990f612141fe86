"""MLflow: its tracking server over SQLite, `log_batch`, and its REST API."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from bench.peers import METRICS, SAMPLE, Ask, Row, Told, main

READY = "/health"
SIZES = (1_000, 10_000)
SAMPLES_AT_START = False
_MOST = 1000
"""Values in one call."""


def serve(folder: str, port: int, sampled: bool) -> None:
    """Its server, its workers as it has them."""
    command = [
        str(Path(sys.executable).with_name("mlflow")),
        "server",
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
        f"--artifacts-destination={folder}/artifacts",
        "--host=127.0.0.1",
        f"--port={port}",
    ]
    os.execv(command[0], command)


def write(rows: Sequence[Row], folder: str, port: int) -> Told:
    """`log_batch`, with as many values in a call as it takes."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(f"http://127.0.0.1:{port}")
    run = client.create_run("0").info.run_id
    metrics = [
        Metric(name, value, int(row.seconds * 1000), row.step)
        for row in rows
        for name, value in row.values.items()
    ]
    for first in range(0, len(metrics), _MOST):
        client.log_batch(run, metrics=metrics[first : first + _MOST])
    client.set_terminated(run)
    return {"run": run}


def full(ask: Ask, told: Told) -> list[bytes]:
    """A request for each metric: it has none for several."""
    return [ask(_history(told, name)) for name in METRICS]


def _history(told: Told, name: str) -> str:
    query = urlencode({"run_id": told["run"], "metric_key": name})
    return f"/api/2.0/mlflow/metrics/get-history?{query}"


def sampled(ask: Ask, told: Told) -> list[bytes]:
    """What a chart of its page asks for, with 100 points, a metric at a time."""
    return [ask(_interval(told, name)) for name in METRICS]


def tail(ask: Ask, told: Told) -> list[bytes]:
    """The same within a range of steps."""
    last = told["steps"] - 1
    steps = {"start_step": last - 9, "end_step": last}
    return [ask(_interval(told, name, **steps)) for name in METRICS]


def _interval(told: Told, name: str, **steps: int) -> str:
    query = {"run_ids": told["run"], "metric_key": name, "max_results": SAMPLE, **steps}
    return f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{urlencode(query)}"


def points(bodies: Sequence[bytes]) -> int:
    """Values, each with its key."""
    return sum(body.count(b'"timestamp"') for body in bodies)


if __name__ == "__main__":
    main(serve, write, client="mlflow")
