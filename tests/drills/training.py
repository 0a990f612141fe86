"""The training of the drills: a small language model on real text, the same at every run.

A process: `python training.py FOLDER STEPS [PAUSE]`, with `DRILL_RECORD=1` recorded. It trains
three phases of so many steps, those after the first with a pause of so many seconds after each
step, and prints when a phase is done; with `DRILL_WAIT=1` it goes on when a line comes in. In the
folder it keeps `logged`, how many snapshots it has logged so far, and at the end `told.json`: the
model's hash, what it logged, and what that cost.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tunelog

# isort: split - before numpy, which the demo tells how many threads to take
from tunelog.demo import english_text

# isort: split
import numpy as np

from tunelog.demo.data import Dataset
from tunelog.demo.network import Network, Parameters
from tunelog.demo.optimizer import Adam, clip, learning_rate

PHASES = 3
CONTEXT, WIDTH, HIDDEN, BATCH = 8, 8, 48, 64


class Counter:
    """How many snapshots are logged, where it outlives this process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def set(self, count: int) -> None:
        struct.pack_into("<q", self._memory, 0, count)


class Training:
    """The model, and what it takes to train it a step at a time."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._random = np.random.default_rng(0)
        self._data = Dataset(english_text(), CONTEXT)
        self.network = Network(
            len(self._data.vocabulary), CONTEXT, self._random, width=WIDTH, hidden=HIDDEN
        )
        self._optimizer = Adam(self.network.parameters)

    def step(self, number: int) -> dict[str, float]:
        """Train a step; answers ten values about it."""
        rate = learning_rate(number / self._steps, 2e-3, 0.05)
        loss, gradients = self.network.gradients(*self._data.batch(BATCH, self._random))
        norms = {f"norm/{name}": _norm(array) for name, array in gradients.items()}
        norm = clip(gradients, 1.0)
        self._optimizer.update(gradients, rate)
        return {"loss": loss, "grad_norm": norm, "learning_rate": rate, **norms}

    def evaluate(self) -> float:
        """The loss on text that it is not trained on."""
        return float(
            np.mean([self.network.loss(*b) for b in self._data.held_out_batches(512, 512)])
        )

    def fingerprint(self) -> str:
        """What two trainings have in common only if every weight is the same."""
        return hashlib.sha256(b"".join(_bytes(self.network.parameters))).hexdigest()


def main(folder: Path, steps: int, pause: float) -> None:
    """Train, and keep in `folder` what came of it."""
    training = Training(PHASES * steps)
    counter = Counter(folder / "logged")
    logged: list[Any] = []
    waits: list[float] = []
    step_times: list[float] = []
    begun = time.perf_counter()
    job = _begin()
    print(job.id if job else "", flush=True)
    log: Callable[..., None] = job.log if job else _nothing
    held = 0.0
    clock = time.perf_counter
    for step in range(1, PHASES * steps + 1):
        at_begin = clock()
        values = training.step(step)
        at_log = clock()
        log(values, step=step)
        at_end = clock()
        waits.append(at_end - at_log)
        step_times.append(at_end - at_begin)
        logged.append((step, "train", values))
        counter.set(len(logged))
        if step % steps == 0:
            evaluated = {"loss": training.evaluate()}
            log(evaluated, step=step, prefix="eval")
            logged.append((step, "eval", evaluated))
            counter.set(len(logged))
            path = folder / f"step-{step}.npz"
            training.network.save(path)
            if job:
                job.checkpoint(path, step=step, checkpoint="model")
                job.event(f"phase {step // steps} is done", step=step)
            held += _wait(step // steps)
        if pause and step >= steps:
            time.sleep(pause)
    trained = time.perf_counter()
    sent = job.finish(timeout=float(os.environ["DRILL_FINISH"])) if job else False
    told = {
        "result": training.fingerprint(),
        "logged": logged,
        "sent": sent,
        "loop_seconds": trained - begun - held,
        "finish_seconds": time.perf_counter() - trained,
        "log_seconds": waits,
        "step_seconds": step_times,
    }
    (folder / "told.json").write_text(json.dumps(told))


def _begin() -> tunelog.Recorder | None:
    if os.environ.get("DRILL_RECORD") != "1":
        return None
    return tunelog.init("demo/character-mlp", name="drill")


def _wait(phase: int) -> float:
    """Say that a phase is done, and wait for a line; answers the seconds waited."""
    print(f"phase {phase} is done", flush=True)
    begun = time.perf_counter()
    if phase < PHASES and os.environ.get("DRILL_WAIT") == "1":
        sys.stdin.readline()
    return time.perf_counter() - begun


def _nothing(*values: object, **more: object) -> None:
    """Stands for `log` where nothing is recorded."""


def _norm(array: Any) -> float:
    return math.sqrt(float(np.vdot(array, array)))


def _bytes(parameters: Parameters) -> list[bytes]:
    return [parameters[name].tobytes() for name in sorted(parameters)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if sys.argv[3:] else 0.0)
