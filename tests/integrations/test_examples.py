"""The examples of `docs/integrations.md` do what they say."""

from __future__ import annotations

from tests.integrations.trained import ROOT, Trainer

HEADINGS = ("PyTorch", "Accelerate", "PyTorch Lightning", "Keras")


def test_the_documented_examples_make_a_job_each(trainer: Trainer) -> None:
    page = str(ROOT / "docs/integrations.md")
    done = trainer.train("examples.py", page, *HEADINGS, KERAS_BACKEND="torch")
    assert done.exit_code == 0, done.errors
    jobs = trainer.jobs()
    assert {job["status"] for job in jobs} == {"completed"}
    found = []
    for job in jobs:
        names = {name for row in trainer.rows(job["id"]) for name in row}
        found.append((job["model"], sorted(name for name in names if name.endswith("/loss"))))
    both = ["eval/loss", "train/loss"]
    assert sorted(found) == [
        *(("Line", both), ("sequential", both)),
        *(("tiny/line", both), ("tiny/line", ["train/loss"])),
    ]
