"""The trainings that the page is tested with, recorded as a trainer records them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import tunelog
from tests.serving import BEGIN, NS, Server

FIRST, SECOND, LONG = "ft-first", "ft-second", "ft-long"
STEPS = 300
RESTART = 201
"""The step from which the first training's second attempt logs again."""
CRASH = 250
NAN, INFINITE = 120, 121
SPIKE = 54_321
LONG_STEPS = 100_000


def record_everything(server: Server, folder: Path) -> None:
    """Two short trainings, one of which was restarted, and one of a hundred thousand steps."""
    _train(server, folder / "one", FIRST, until=CRASH, finish=None)
    _train(server, folder / "one", FIRST, begin=RESTART, finish="completed")
    _train(server, folder / "two", SECOND, learning_rate=1e-4, finish="completed")
    _record_long(server)


def loss(step: int) -> float:
    """A loss that falls, with a little noise."""
    return 0.5 + 2.0 * math.exp(-step / 60) + 0.02 * math.sin(step * 12.9898)


def eval_loss(step: int) -> float:
    """What the evaluation at a step finds."""
    return loss(step) + 0.1


def _train(
    server: Server,
    folder: Path,
    job_id: str,
    *,
    begin: int = 1,
    until: int = STEPS,
    learning_rate: float = 2e-4,
    finish: Literal["completed"] | None,
) -> None:
    folder.mkdir(exist_ok=True)
    job = tunelog.init(
        model="Qwen/Qwen3-0.6B",
        name=job_id.removeprefix("ft-"),
        job_id=job_id,
        from_step=begin if begin > 1 else None,
        url=server.url,
        api_key=server.api_key,
        spool=folder / "spool",
        total_steps=STEPS,
        n_epochs=3,
        learning_rate=learning_rate,
        hyperparameters={"lora": {"r": 8 if job_id == FIRST else 32}, "optimizer": "adamw"},
        tags=["sft"],
        strict=True,
    )
    # Where the second attempt logged the same step, its loss is a tenth lower.
    lower = 0.1 if begin > 1 else 0.0
    for step in range(begin, until + 1):
        values = {
            "loss": loss(step) - lower,
            "learning_rate": learning_rate * (1 - step / (2 * STEPS)),
            "grad_norm": 1 + 3 / step,
            "epoch": 3 * step / STEPS,
            "rewards/chosen": 1 - math.exp(-step / 100),
        }
        if job_id == FIRST and step == NAN:
            values["grad_norm"] = math.nan
        if job_id == FIRST and step == INFINITE:
            values["grad_norm"] = math.inf
        at = BEGIN + (step + (1000 if begin > 1 else 0)) * NS
        job.log(values, step=step, logged_at=at)
        if step % 50 == 0:
            job.log({"loss": eval_loss(step), "accuracy": 1 - loss(step) / 3}, step=step,
                    prefix="eval", logged_at=at + NS // 2)  # fmt: skip
            job.checkpoint(f"out/checkpoint-{step}", step=step)
    if begin == 1 and job_id == FIRST:
        job.event("The loss is not finite", type="warning", level="warning", step=NAN)
    assert job.finish(finish, timeout=60)


def _record_long(server: Server) -> None:
    """A hundred thousand steps, posted in batches; one of them is a spike."""
    with server.client() as api:
        details = {"model": "Qwen/Qwen3-0.6B", "id": LONG, "name": "long", "learning_rate": 2e-4}
        assert api.post("/v1/fine-tunes", json=details).status_code == 200
        for first in range(0, LONG_STEPS, 20_000):
            rows = [
                {
                    "timestamp": BEGIN + step * NS,
                    "train/global_step": step,
                    "train/loss": 99.0 if step == SPIKE else round(loss(step // 100), 4),
                    "train/grad_norm": round(1 + 1 / (step + 1), 4),
                }
                for step in range(first, first + 20_000)
            ]
            body = {"metrics": rows, "first_seq": first}
            assert api.post(f"/v1/fine-tunes/{LONG}/metrics", json=body).status_code == 200
        done = api.patch(f"/v1/fine-tunes/{LONG}", json={"status": "completed"})
        assert done.status_code == 200
