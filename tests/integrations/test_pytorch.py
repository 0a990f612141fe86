"""PyTorch alone: a loop of one's own with `tunelog.log`, and one in two processes."""

from __future__ import annotations

from tests.integrations.following import cancel, errors_told, steps, two_processes
from tests.integrations.trained import PATIENCE, Trainer


def test_a_loop_of_ones_own_fails_and_is_resumed_from_its_checkpoint(trainer: Trainer) -> None:
    failed = trainer.train("plain_pytorch.py", "25")
    assert failed.exit_code == 1, failed.errors
    job_id = failed.output.strip()
    assert trainer.job(job_id)["status"] == "error"
    resumed = trainer.train("plain_pytorch.py", "25000")
    assert (resumed.exit_code, resumed.errors) == (0, "")
    same, loss, norm = resumed.output.split()
    assert same == job_id

    job = trainer.job(job_id)
    assert (job["status"], job["model"], job["total_steps"]) == ("completed", "tiny/line", 30)
    rows = trainer.rows(job_id)
    assert steps(rows, "train/loss") == list(range(1, 31))
    assert steps(rows, "eval/loss") == [10, 20, 30]
    assert steps(trainer.rows(job_id, attempt="1"), "train/loss") == list(range(1, 26))
    assert steps(trainer.rows(job_id, attempt="2"), "train/loss") == list(range(21, 31))
    last = next(row for row in rows if row["train/global_step"] == 30)
    assert (last["train/loss"], last["train/grad_norm"]) == (float(loss), float(norm))
    assert errors_told(trainer, job_id) == ["RuntimeError: the driver is gone"]
    assert [found["step"] for found in trainer.checkpoints(job_id)] == [10, 20, 30]


def trained_by_two(trainer: Trainer, writers: str) -> tuple[str, int]:
    """Trains in two processes until the job is cancelled: its id, and the last step of both."""
    with trainer.start(*two_processes(trainer, "pytorch_ddp.py", writers)) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        cancel(trainer, job_id)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert [job["id"] for job in trainer.jobs()] == [job_id]
    assert trainer.job(job_id)["status"] == "cancelled"
    (last,) = {int((trainer.folder / f"rank-{rank}").read_text()) for rank in (0, 1)}
    return job_id, last


def test_two_processes_under_torchrun_are_one_curve_and_end_together(trainer: Trainer) -> None:
    job_id, last = trained_by_two(trainer, "rank0")
    rows = trainer.rows(job_id, attempt="all")
    assert steps(rows, "train/loss") == list(range(1, last + 1))
    assert {row["train/rank"] for row in rows} == {0}


def test_two_processes_under_torchrun_may_record_a_series_each(trainer: Trainer) -> None:
    job_id, last = trained_by_two(trainer, "all")
    with trainer.server.client() as client:
        attempts = client.get(f"/v1/fine-tunes/{job_id}/attempts").json()["data"]
    assert [attempt["attempt"] for attempt in attempts] == [1]
    rows = trainer.rows(job_id)
    for rank, suffix in enumerate(("", "/rank1")):
        assert steps(rows, f"train/loss{suffix}") == list(range(1, last + 1))
        found = {row[f"train/rank{suffix}"] for row in rows if f"train/rank{suffix}" in row}
        assert found == {rank}
