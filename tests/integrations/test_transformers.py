"""Hugging Face's Trainer, recorded by its callback."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.published import Published
from tests.integrations.trained import PATIENCE, PYTHON, SCRIPTS, Trained, Trainer
from tests.recording import until
from tests.serving import Server

SCRIPT = "hf_trainings.py"
SUMMARY = frozenset(
    {
        *("train_runtime", "train_samples_per_second", "train_steps_per_second"),
        *("train_loss", "total_flos"),
    }
)


class Trainings:
    """What one process trained, and what the service has of it."""

    def __init__(self, trainer: Trainer, done: Trained) -> None:
        assert done.exit_code == 0, done.errors
        self.service = trainer
        self.errors = done.errors
        self.results: dict[str, Any] = json.loads(done.output.splitlines()[-1])

    def rows(self, job_id: str, **query: str) -> list[dict[str, Any]]:
        return self.service.rows(job_id, **query)

    def job(self, job_id: str) -> dict[str, Any]:
        return self.service.job(job_id)

    def words(self, job_id: str, level: str | None = None) -> list[tuple[str, int, str]]:
        """Type, step and words of a job's events."""
        return [
            (event["type"], event["step"], event["message"])
            for event in self.service.events(job_id)
            if level in (None, event["level"])
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """Every training that needs no process of its own, in one: importing takes the longest."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "server").mkdir()
    with Server(folder / "server") as server:
        trainer = Trainer(server, folder)
        names = "whole filtered unfiltered failing early again stopped retried given memory"
        done = trainer.train(SCRIPT, *names.split(), "preempted")
        yield Trainings(trainer, done)


def as_logged(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the trainer's own history amounts to, without their times."""
    rows = []
    for entry in history:
        if "train_loss" in entry:
            continue
        row = {"train/global_step": entry["step"]}
        for name, value in entry.items():
            if name.startswith("eval_"):
                row[f"eval/{name[5:]}"] = value
            elif name != "step":
                row[f"train/{name}"] = "NaN" if value == "nan" else value
        rows.append(row)
    return rows


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "timestamp"} for row in rows]


def curve(rows: list[dict[str, Any]], name: str = "train/loss") -> list[tuple[int, Any]]:
    return [(row["train/global_step"], row[name]) for row in rows if name in row]


# ---------------------------------------------------------------- a training


def test_every_number_is_recorded_as_the_trainer_logged_it(trained: Trainings) -> None:
    result = trained.results["whole"]
    rows = untimed(trained.rows(result["job"]))
    predicted = rows.pop()
    assert rows == as_logged(result["history"])
    assert [step for step, _ in curve(rows)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in curve(rows, "eval/loss")] == [4, 8]
    assert [step for step, _ in curve(rows, "eval/other_loss")] == [8]  # after the training
    assert predicted["eval/test_loss"] == rows[-1]["eval/other_loss"]


def test_the_closing_summary_is_in_the_job_and_no_point_of_the_curve(trained: Trainings) -> None:
    result = trained.results["whole"]
    (summary,) = [entry for entry in result["history"] if "train_loss" in entry]
    job = trained.job(result["job"])
    said = {name: job["hyperparameters"][name] for name in SUMMARY}
    assert said == {name: summary[name] for name in SUMMARY}
    assert all("train/train_loss" not in row for row in trained.rows(result["job"]))
    (told,) = [event for event in trained.words(result["job"]) if event[0] == "training_complete"]
    assert told[1] == 8
    assert f"train_loss {summary['train_loss']:.6g}" in told[2]


def test_the_job_says_what_is_trained_and_how(trained: Trainings) -> None:
    job = trained.job(trained.results["whole"]["job"])
    fields = {
        "status": "completed",
        "model": "gpt2",
        "name": "whole",
        "tags": ["tiny"],
        "total_steps": 8,
        "n_epochs": 2,
        "epochs_completed": 2,
        "batch_size": 2,
        "learning_rate": 5e-05,
        "warmup_ratio": 0.25,
        "weight_decay": 0.0,
        "random_seed": 42,
        "n_evals": 2,
        "eval_steps": 4,
        "n_checkpoints": 2,
        "token_count": 128,
        "param_count": 4080,
        "training_type": {"type": "Full"},
        "max_grad_norm": 1.0,
    }
    assert {name: job[name] for name in fields} == fields
    assert job["lr_scheduler"]["lr_scheduler_type"] == "linear"
    said = job["hyperparameters"]
    chosen = {
        "note": 1,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 2,
        "model.hidden_size": 16,
        "trainable_parameters": 4080,
        "train_examples": 8,
        "logging_nan_inf_filter": True,
        "world_size": 1,
        "warmup_steps": 2,
    }
    assert {name: said[name] for name in chosen} == chosen
    assert len(said) < 50
    assert "secret" not in json.dumps(job)


def test_a_checkpoint_is_recorded_and_knows_its_job(trained: Trainings) -> None:
    job_id = trained.results["whole"]["job"]
    folder = trained.service.folder / "whole"
    found = trained.service.checkpoints(job_id)
    assert [(c["step"], c["path"], c["checkpoint_type"], c["checkpoint"]) for c in found] == [
        (4, str(folder / "checkpoint-4"), "Intermediate", "model"),
        (8, str(folder / "checkpoint-8"), "Final", "model"),
    ]
    for path in (folder / "checkpoint-4", folder / "checkpoint-8"):
        assert json.loads((path / "tunelog.json").read_text()) == {"job_id": job_id}
    known = json.loads((folder / "tunelog.json").read_text())
    assert known == {"job_id": job_id, "status": "completed"}


def test_the_strictest_client_can_read_every_job(trained: Trainings, tmp_path: Path) -> None:
    with closing(Published(trained.service.server, tmp_path)) as published:
        for job in trained.service.jobs():
            outcomes = published.python(
                "together-3",
                ("fine_tuning.retrieve", job["id"]),
                ("fine_tuning.list_metrics", job["id"]),
                ("fine_tuning.list_events", job["id"]),
                ("fine_tuning.list_checkpoints", job["id"]),
                _strict_response_validation=True,
            )
            assert [outcome.get("error") for outcome in outcomes] == [None] * 4


def test_the_trainer_is_left_as_it_was(trained: Trainings) -> None:
    for result in trained.results.values():
        assert result.get("clean", True)
    assert all(result["clean"] for result in trained.results["failing"]["ended"])


def test_only_what_was_meant_to_is_said(trained: Trainings) -> None:
    said = [line for line in trained.errors.splitlines() if line.startswith("tunelog: ")]
    about = ("not all is sent yet", "TunelogCallback: ")
    assert [line for line in said if not line.removeprefix("tunelog: ").startswith(about)] == []


# ---------------------------------------------------------------- the truth about NaN


def test_with_the_filter_on_a_bad_step_is_counted_and_named(trained: Trainings) -> None:
    result = trained.results["filtered"]
    rows = untimed(trained.rows(result["job"]))
    expected = as_logged(result["history"])
    expected[1]["train/nonfinite_steps"] = 1
    assert rows == expected
    assert [step for step, _ in curve(rows)] == [2, 4, 6]
    ((kind, step, words),) = trained.words(result["job"], "warning")
    assert (kind, step) == ("warning", 3)
    assert "logging_nan_inf_filter hides it" in words


def test_with_the_filter_off_only_the_bad_window_is_nan(trained: Trainings) -> None:
    result = trained.results["unfiltered"]
    assert [entry["loss"] for entry in result["history"][1:-1]] == ["nan"] * 3
    rows = untimed(trained.rows(result["job"]))
    expected = as_logged(result["healthy"]["history"])  # whose gradients were the same
    expected[1].update({"train/loss": "NaN", "train/nonfinite_steps": 1})
    assert rows == expected
    ((kind, step, words),) = trained.words(result["job"], "warning")
    assert (kind, step) == ("warning", 3)
    assert "filter" not in words


def test_a_training_without_a_bad_step_says_nothing_of_it(trained: Trainings) -> None:
    job_id = trained.results["unfiltered"]["healthy"]["job"]
    assert trained.words(job_id, "warning") == []
    assert all("train/nonfinite_steps" not in row for row in trained.rows(job_id))


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (0, "error", ("job_error", 2, "ValueError: bad batch")),
        (1, "cancelled", ("warning", 2, "KeyboardInterrupt")),
        (2, "error", ("job_error", 2, "SystemExit: 3")),
        (3, "error", ("job_error", 1, "RuntimeError: bad callback")),
    ],
)
def test_an_exception_that_leaves_train_ends_the_job(
    trained: Trainings, number: int, status: str, words: tuple[str, int, str]
) -> None:
    result = trained.results["failing"]["ended"][number]
    assert trained.job(result["job"])["status"] == status
    assert words in trained.words(result["job"])
    assert untimed(trained.rows(result["job"])) == as_logged(result["history"])


def test_early_stopping_is_told(trained: Trainings) -> None:
    result = trained.results["early"]
    job = trained.job(result["job"])
    evaluated = {
        entry["eval_loss"]: entry["step"] for entry in result["history"] if "eval_loss" in entry
    }
    best = min(evaluated)
    assert (job["status"], job["early_stopped"]) == ("completed", True)
    assert (job["early_stopping_best_step"], job["early_stopping_best_metric"]) == (
        evaluated[best],
        best,
    )
    assert ("early_stopped", 3) in [event[:2] for event in trained.words(result["job"])]


def test_a_trainer_that_trains_twice_makes_two_jobs_and_others_are_not_mixed_up(
    trained: Trainings,
) -> None:
    results = list(trained.results["again"].values())
    assert len({result["job"] for result in results}) == 3
    for result in results:
        assert untimed(trained.rows(result["job"])) == as_logged(result["history"])
        assert trained.job(result["job"])["status"] == "completed"


def test_a_recorder_of_the_scripts_own_is_left_to_it(trained: Trainings) -> None:
    result = trained.results["given"]
    rows = untimed(trained.rows(result["job"]))
    assert rows == [*as_logged(result["history"]), {"train/global_step": 2, "train/mine": 1.0}]
    job = trained.job(result["job"])
    assert (job["status"], job["model"], job["total_steps"]) == ("completed", "mine", 2)


def test_a_fault_of_the_callbacks_own_costs_the_training_nothing(trained: Trainings) -> None:
    assert trained.results["given"]["broken"] == 2
    for hook in ("on_train_begin", "on_step_end", "on_log", "on_train_end"):
        assert trained.errors.count(f"tunelog: TunelogCallback: {hook}: AttributeError") == 1


def test_a_setting_that_there_is_not_is_refused(trained: Trainings) -> None:
    assert "did you mean name?" in trained.results["given"]["typo"]


# ---------------------------------------------------------------- the next attempt


def test_a_training_that_died_goes_on_in_its_job(trainer: Trainer) -> None:
    assert trainer.train(SCRIPT, "crash").exit_code == 9
    resumed = Trainings(trainer, trainer.train(SCRIPT, "resume"))
    (job,) = trainer.jobs()
    result = resumed.results["resume"]
    assert (result["job"], job["status"]) == (job["id"], "completed")
    assert untimed(trainer.rows(job["id"])) == as_logged(result["history"])
    assert [step for step, _ in curve(trainer.rows(job["id"], attempt="1"))] == [1, 2, 3, 4]
    assert [step for step, _ in curve(trainer.rows(job["id"], attempt="2"))] == [5, 6, 7, 8]


def test_a_retry_from_scratch_and_one_from_a_copied_checkpoint_are_attempts(
    trained: Trainings,
) -> None:
    result = trained.results["retried"]
    attempts = {
        number: [step for step, _ in curve(trained.rows(result["job"], attempt=str(number)))]
        for number in (1, 2, 3)
    }
    assert attempts == {1: [1, 2, 3], 2: [1, 2, 3, 4], 3: [5, 6]}
    assert untimed(trained.rows(result["job"])) == as_logged(result["history"])
    assert trained.job(result["job"])["status"] == "completed"


def test_what_was_stopped_before_its_end_may_go_on_and_what_is_complete_may_not(
    trained: Trainings,
) -> None:
    first, resumed, scratch = trained.results["stopped"]["jobs"]
    assert first == resumed != scratch
    assert [step for step, _ in curve(trained.rows(first))] == [1, 2, 3, 4, 5]
    assert ("warning", 3, "Stopped at step 3 of 5.") in trained.words(first)
    assert [trained.job(job)["status"] for job in (first, scratch)] == ["completed"] * 2


def test_what_makes_room_is_left_to_the_next_attempt(trained: Trainings) -> None:
    result = trained.results["preempted"]
    told = trained.words(result["job"])
    assert ("warning", 3, "Stopped at step 3 of 5 to make room.") in told
    assert [kind for kind, _, _ in told].count("job_complete") == 1
    assert [found["step"] for found in trained.service.checkpoints(result["job"])] == [2]
    assert untimed(trained.rows(result["job"])) == as_logged(result["history"])


def test_a_retry_with_smaller_batches_is_the_next_attempt(trained: Trainings) -> None:
    result = trained.results["memory"]
    job = trained.job(result["job"])
    assert (job["status"], job["batch_size"]) == ("completed", 1)
    assert untimed(trained.rows(result["job"])) == as_logged(result["history"])
    assert [step for step, _ in curve(trained.rows(result["job"], attempt="1"))] == [1, 2]
    ((_, step, words),) = trained.words(result["job"], "warning")
    assert (step, words) == (2, "Out of memory; the trainer begins again with smaller batches.")


# ---------------------------------------------------------------- cancel, and several processes


def cancel_when(trainer: Trainer, rows: int) -> str:
    """Cancel the one job as soon as it has so many rows; answers its id."""

    def has_begun() -> Any:
        jobs = trainer.jobs()
        return jobs and len(trainer.rows(jobs[0]["id"])) >= rows and jobs[0]["id"]

    job_id = str(until(has_begun, "the first rows", PATIENCE))
    with trainer.server.client() as client:
        assert client.post(f"/v1/fine-tunes/{job_id}/cancel").status_code == 200
    return job_id


def on_two_processes(training: str) -> list[str]:
    launch = [str(PYTHON), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*launch, str(SCRIPTS / SCRIPT), training]


@contextmanager
def running(trainer: Trainer, *command: str, **variables: str) -> Iterator[Callable[[], Trainings]]:
    """A training as it runs; what is yielded waits for its end."""
    with trainer.start(*command, **variables) as process:

        def end() -> Trainings:
            output, errors = process.communicate(timeout=PATIENCE)
            return Trainings(trainer, Trained(output, errors, process.returncode))

        try:
            yield end
        finally:
            if process.poll() is None:
                process.terminate()  # a launcher of processes ends them, too


def test_a_cancel_ends_the_training_after_its_step(trainer: Trainer) -> None:
    with running(trainer, *trainer.command(SCRIPT, "endless")) as end:
        job_id = cancel_when(trainer, 4)
        done = end()
    assert trainer.job(job_id)["status"] == "cancelled"
    steps = [step for step, _ in curve(trainer.rows(job_id))]
    assert steps == [*range(2, done.results["endless"]["step"] + 1, 2)]


def test_two_processes_make_one_curve_and_are_cancelled_together(trainer: Trainer) -> None:
    with running(trainer, *on_two_processes("endless")) as end:
        job_id = cancel_when(trainer, 4)
        done = end()
    last = done.results["endless"]["step"]
    assert int((trainer.folder / "rank1").read_text()) == last
    (job,) = trainer.jobs()
    assert (job["status"], job["hyperparameters"]["world_size"]) == ("cancelled", 2)
    assert job["batch_size"] == 4
    rows = trainer.rows(job_id)
    assert [step for step, _ in curve(rows)] == [*range(2, last + 1, 2)]
    # The bad step is the other process's; the losses after it are of both, and healthy.
    assert curve(rows, "train/nonfinite_steps") == [(4, 1)]
    assert curve(rows)[1] == (4, "NaN")
    assert all(math.isfinite(loss) for step, loss in curve(rows) if step != 4)
    assert ("warning", 3) in [event[:2] for event in done.words(job_id, "warning")]


def test_a_cancel_that_not_every_process_would_hear_hangs_none(trainer: Trainer) -> None:
    with trainer.server.client() as client:
        job_id = client.post("/v1/fine-tunes", json={"model": "m"}).json()["id"]
        client.post(f"/v1/fine-tunes/{job_id}/cancel")
    with running(trainer, *on_two_processes("alone"), TUNELOG_JOB_ID=job_id) as end:
        done = end()
    assert done.results["alone"]["step"] == 6
    words = "The cancel cannot be passed on: the callback is not on every rank."
    assert ("warning", 1, words) in done.words(job_id)
