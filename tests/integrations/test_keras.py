"""Keras: real fits, on PyTorch."""

from __future__ import annotations

from tests.integrations.following import cancel, steps
from tests.integrations.trained import PATIENCE, Trainer


def test_a_fit_one_that_is_stopped_early_and_one_that_is_cancelled(trainer: Trainer) -> None:
    with trainer.start(*trainer.command("keras_fits.py")) as process:
        assert process.stdout is not None
        whole, early, endless = (process.stdout.readline().strip() for _ in range(3))
        cancel(trainer, endless)
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "tunelog: " not in errors

    job = trainer.job(whole)
    assert (job["status"], job["name"], job["model"]) == ("completed", "whole", "line")
    assert (job["n_epochs"], job["total_steps"], job["epochs_completed"]) == (3, 15, 3)
    assert job["param_count"] == 3
    assert job["hyperparameters"]["optimizer.name"] == "sgd"
    assert job["hyperparameters"]["loss"] == "mse"
    rows = trainer.rows(whole)
    assert steps(rows, "train/loss") == list(range(1, 16))
    assert steps(rows, "eval/loss") == [5, 10, 15]
    evaluation = next(row for row in rows if "eval/loss" in row)
    assert evaluation.keys() - {"timestamp", "train/global_step"} == {
        *("eval/loss", "eval/mae", "train/epoch"),
    }

    job = trainer.job(early)
    assert (job["status"], job["model"], job["early_stopped"]) == ("completed", "tiny/line", True)
    assert job["epochs_completed"] == 2
    assert steps(trainer.rows(early), "train/loss") == [17, 19, 20, 22, 24, 25]
    assert "early_stopped" in {event["type"] for event in trainer.events(early)}

    assert trainer.job(endless)["status"] == "cancelled"
    assert steps(trainer.rows(endless), "train/loss") == list(range(26, int(out) + 1))
