"""Accelerate: a real accelerator with the tracker."""

from __future__ import annotations

from tests.integrations.following import cancel, steps, two_processes
from tests.integrations.trained import PATIENCE, Trainer


def test_two_processes_are_one_job_and_end_together_when_it_is_cancelled(trainer: Trainer) -> None:
    with trainer.start(*two_processes(trainer, "accelerate_run.py")) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        cancel(trainer, job_id)
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    last = int(out)
    assert {(trainer.folder / f"rank-{rank}").read_text() for rank in (0, 1)} == {str(last)}
    job = trainer.job(job_id)
    assert (job["status"], job["name"], job["model"]) == ("cancelled", "tuned", "tiny/line")
    assert job["hyperparameters"] == {"model_name_or_path": "tiny/line", "lr": 0.1, "lora.r": 8}

    rows = trainer.rows(job_id)
    first = {key: value for key, value in rows[0].items() if key != "timestamp"}
    assert first.keys() == {"train/global_step", "train/loss", "train/epoch", "gpu/memory"}
    assert isinstance(first["train/loss"], float)
    assert steps(rows, "gpu/memory") == list(range(1, last + 1))
    at_ten = [row.keys() - {"timestamp"} for row in rows if row["train/global_step"] == 10]
    assert at_ten[1:] == [
        {"train/global_step", "eval/loss", "eval/acc"},
        {"train/global_step", "train/loss"},
        {"train/global_step", "eval/loss"},
    ]
    assert steps(rows, "train/last") == [last + 1]
    refused = [event["message"] for event in trainer.events(job_id) if "text" in event["message"]]
    assert any("a string; a number is wanted" in message for message in refused)

    (other,) = (job for job in trainer.jobs() if job["id"] != job_id)
    assert (other["status"], other["name"], other["model"]) == (
        *("completed", "registered", "unknown"),
    )
    assert steps(trainer.rows(other["id"]), "train/loss") == [1, 2]
