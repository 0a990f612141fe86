"""PyTorch Lightning: a real trainer, of both packages, and two processes."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.integrations.following import cancel, errors_told, steps, wait_for
from tests.integrations.trained import PATIENCE, Trainer


@pytest.mark.parametrize(
    ("package", "ending"), [("lightning.pytorch", "cancel"), ("pytorch_lightning", "SIGTERM")]
)
def test_a_fit_its_resumption_its_test_and_one_that_is_ended(
    trainer: Trainer, package: str, ending: str
) -> None:
    with trainer.start(*trainer.command("lightning_fits.py", package)) as process:
        assert process.stdout is not None
        first, said, second, third = (process.stdout.readline().strip() for _ in range(4))
        end(trainer, third, ending, process)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (said, second) == ("the disk of the data is gone", first), errors
    assert "tunelog: " not in errors

    job = trainer.job(first)
    assert (job["status"], job["model"], job["name"]) == ("completed", "tiny/line", "first")
    assert (job["n_epochs"], job["total_steps"], job["epochs_completed"]) == (3, 15, 3)
    assert (job["param_count"], job["learning_rate"]) == (3, 0.125)
    assert job["hyperparameters"]["nested.depth"] == 3
    assert job["hyperparameters"]["optimizer"] == "AdamW"

    rows = trainer.rows(first)
    assert steps(rows, "train/loss_step") == list(range(1, 16))
    assert steps(rows, "gpu/memory") == list(range(1, 16))
    assert steps(rows, "train/loss_epoch") == [5, 10, 15]
    assert steps(rows, "eval/loss") == [5, 10, 15]
    evaluations = [row for row in rows if "eval/loss" in row]
    assert evaluations[0].keys() - {"timestamp", "train/global_step"} == {
        *("eval/loss", "eval/nan", "eval/accuracy", "train/epoch"),
    }
    assert evaluations[0]["eval/nan"] == "NaN"
    assert steps(rows, "eval/test_loss") == [15]
    attempts = [steps(trainer.rows(first, attempt=str(n)), "train/loss_step") for n in (1, 2)]
    assert attempts == [list(range(1, 8)), list(range(6, 16))]

    assert errors_told(trainer, first) == ["RuntimeError: the disk of the data is gone"]
    saved = {(found["step"], found["path"]) for found in trainer.checkpoints(first)}
    folder = trainer.folder / "out"
    assert {(5, f"{folder}/epoch=0-step=5.ckpt"), (15, f"{folder}/epoch=2-step=15.ckpt")} <= saved
    assert json.loads((folder / "tunelog.json").read_text())["job_id"] == first

    assert trainer.job(third)["model"] == "base"
    logged = steps(trainer.rows(third), "train/loss_step")
    assert logged == list(range(1, len(logged) + 1))
    if ending == "cancel":
        assert trainer.job(third)["status"] == "cancelled"
        assert int(out) == len(logged)
    else:
        assert trainer.job(third)["status"] == "running"
        told = [event["message"] for event in trainer.events(third)]
        assert any("exited without finish()" in message for message in told)


def end(trainer: Trainer, job_id: str, ending: str, process: subprocess.Popen[str]) -> None:
    """Ends a fit that has none, when it is well on its way."""
    if ending == "cancel":
        cancel(trainer, job_id)
    else:
        wait_for(trainer, job_id)
        process.send_signal(signal.SIGTERM)


def test_a_cancelled_fit_of_two_processes_is_one_curve_and_ends_on_both(trainer: Trainer) -> None:
    with trainer.start(*trainer.command("lightning_ddp.py")) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        cancel(trainer, job_id)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    last = {int((trainer.folder / f"rank-{rank}").read_text()) for rank in (0, 1)}
    assert [job["id"] for job in trainer.jobs()] == [job_id]
    assert trainer.job(job_id)["status"] == "cancelled"
    assert [steps(trainer.rows(job_id), "train/loss")] == [
        list(range(2, step + 1, 2)) for step in last
    ]
