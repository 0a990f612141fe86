"""TRL's trainers, recorded by the same callback."""

from __future__ import annotations

import json

from tests.integrations.test_transformers import as_logged, curve, untimed
from tests.integrations.trained import Trainer


def test_sft_and_dpo_are_recorded_without_arguments(trainer: Trainer) -> None:
    done = trainer.train("trl_trainings.py", "sft", "dpo")
    assert done.exit_code == 0, done.errors
    results = json.loads(done.output.splitlines()[-1])
    for result in results.values():
        assert untimed(trainer.rows(result["job"])) == as_logged(result["history"])
        assert trainer.job(result["job"])["status"] == "completed"

    job = trainer.job(results["sft"]["job"])
    assert (job["name"], job["model"], job["max_seq_length"]) == ("chat", "llama", 16)
    assert job["training_method"] == {"method": "sft", "train_on_inputs": "auto"}
    assert job["training_type"] == {
        "type": "Lora",
        "lora_r": 2,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "lora_trainable_modules": "q_proj,v_proj",
    }
    assert job["param_count"] > job["hyperparameters"]["trainable_parameters"] == 112
    rows = trainer.rows(job["id"])
    assert [step for step, _ in curve(rows)] == [2, 4]
    assert [step for step, _ in curve(rows, "eval/one_loss")] == [4, 5]
    assert [step for step, _ in curve(rows, "eval/two_loss")] == [4, 5]
    assert len(curve(rows, "train/mean_token_accuracy")) == 2

    job = trainer.job(results["dpo"]["job"])
    assert job["training_method"] == {"method": "dpo", "dpo_beta": 0.2}
    assert job["training_type"] == {"type": "Full"}
    rows = trainer.rows(job["id"])
    assert len(curve(rows, "train/rewards/margins")) == len(curve(rows)) == 2
