"""The demo's training with the recorder on: what a training script of your own would look like."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

import tunelog
from tunelog.demo import (
    EvalResult,
    StepResult,
    Trained,
    english_text,
    train,
)
from tunelog.demo import training as settings
from tunelog.demo.network import Network

SEED = 0
_CHECKPOINTS = 4


class Recorded(NamedTuple):
    """A training that was recorded.

    Attributes:
        job_id: the job it was recorded as.
        trained: the model.
        seconds: how long it took.
        losses: what was logged: `train/loss` and `eval/loss`, with their steps.
        sent: whether the service has acknowledged everything.
    """

    job_id: str
    trained: Trained
    seconds: float
    losses: dict[str, list[tuple[int, float]]]
    sent: bool


class RecordedTraining:
    """Hands what the training says to the recorder, and to whoever watches."""

    def __init__(self, run: tunelog.Recorder, watch: Watch, seconds: float, folder: Path) -> None:
        """Checkpoints are saved in `folder`."""
        self._run = run
        self._watch = watch
        self._seconds = seconds
        self._folder = folder
        self._saved = 0
        self._epochs = 0
        self.losses: dict[str, list[tuple[int, float]]] = {"train/loss": [], "eval/loss": []}

    def on_step(self, result: StepResult) -> None:
        """Log every step; an epoch that is complete is an event."""
        self._run.log(
            {
                "loss": result.loss,
                "learning_rate": result.learning_rate,
                "grad_norm": result.grad_norm,
                "epoch": result.epoch,
                "tokens_per_second": result.tokens_per_second,
            },
            step=result.step,
        )
        self.losses["train/loss"].append((result.step, result.loss))
        if int(result.epoch) > self._epochs:
            self._epochs = int(result.epoch)
            self._run.update(epochs_completed=self._epochs)
            message = f"Epoch {self._epochs} is complete"
            self._run.event(message, type="epoch_complete", step=result.step)
        self._watch.step(result)

    def on_eval(self, result: EvalResult) -> None:
        """Log the evaluation, say how long it will take, and save a checkpoint now and then."""
        self._run.log({"loss": result.loss}, step=result.step, prefix="eval")
        self.losses["eval/loss"].append((result.step, result.loss))
        self._run.update(seconds_remaining=(1 - result.progress) * self._seconds)
        if result.step == 0:
            self._run.update(param_count=result.network.size)
        if self._saved + 1 <= result.progress * _CHECKPOINTS < _CHECKPOINTS:
            self._saved = int(result.progress * _CHECKPOINTS)
            self.save(result.network, result.step, "Intermediate")
        self._watch.evaluation(result)

    def save(self, network: Network, step: int, label: str) -> None:
        """Save the model, and say so."""
        path = self._folder / f"step-{step}.npz"
        network.save(path)
        self._run.checkpoint(path, step=step, checkpoint_type=label, checkpoint="model")


def record(url: str, api_key: str, seconds: float, folder: Path) -> Recorded:
    """Train for so many seconds, recorded at this service; files go to `folder`."""
    text = english_text()
    run = tunelog.init(
        model="demo/character-mlp",
        name="demo",
        resume="never",
        hyperparameters={"optimizer": "Adam", "context": settings.CONTEXT},
        learning_rate=settings.PEAK_LEARNING_RATE,
        lr_scheduler={"lr_scheduler_type": "cosine"},
        warmup_ratio=settings.WARMUP_RATIO,
        max_grad_norm=settings.MAX_GRAD_NORM,
        batch_size=settings.BATCH_SIZE,
        eval_steps=settings.EVAL_EVERY,
        random_seed=SEED,
        training_file="Python's documentation",
        url=url,
        api_key=api_key,
        spool=folder / "spool",
        offline=False,
    )
    with run, Watch() as watch:
        recording = RecordedTraining(run, watch, seconds, folder)
        begin = time.monotonic()
        trained = train(
            text,
            seconds=seconds,
            seed=SEED,
            on_step=recording.on_step,
            on_eval=recording.on_eval,
            should_stop=lambda: run.should_stop,
        )
        took = time.monotonic() - begin
        watch.end()
        recording.save(trained.network, trained.steps, "Final")
        run.event("Training ended", type="training_complete", step=trained.steps)
        sent = run.finish(timeout=60)
    return Recorded(run.id, trained, took, recording.losses, sent)


class Watch:
    """A progress bar; in a pipe, a line for each tenth of the training."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}"),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, words="")
        self._begin = time.monotonic()
        self._tenths = 0
        self._loss = self._eval_loss = float("nan")

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def end(self) -> None:
        """Fill the bar."""
        self._bar.update(self._task, completed=1.0)

    def step(self, result: StepResult) -> None:
        """Show where the training is."""
        self._loss = result.loss
        rate = result.step / (time.monotonic() - self._begin)
        words = f"loss {self._loss:.2f} eval {self._eval_loss:.2f} {rate:.0f}/s"
        self._bar.update(self._task, completed=result.progress, words=words)

    def evaluation(self, result: EvalResult) -> None:
        """Show how good the model is."""
        self._eval_loss = result.loss
        if not self._console.is_terminal and int(result.progress * 10) >= self._tenths:
            self._tenths = int(result.progress * 10) + 1
            shown = "" if result.step == 0 else f"loss {self._loss:.3f}  "
            self._console.print(f"step {result.step:5}  {shown}eval loss {result.loss:.3f}")
