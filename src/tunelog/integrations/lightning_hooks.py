"""The callback that a `TunelogLogger` puts among its trainer's: what a logger is not told."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from tunelog.integrations.harmless import harmless
from tunelog.integrations.progress import Progress
from tunelog.recorder import Recorder


def hooks_for(trainer: Any, logger: Any) -> Any:
    """A callback of the trainer's package, whichever that is."""
    modules = [kind.__module__ for kind in type(trainer).__mro__]
    package = next(name for name in modules if name.endswith(".trainer.trainer"))
    callbacks = import_module(package.removesuffix(".trainer.trainer") + ".callbacks")
    return type("TunelogHooks", (_Hooks, callbacks.Callback), {})(logger)


class _Hooks:
    """Follows the steps of one fit after another, on every rank."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.logger = logger
        self._faults = logger._faults
        self._progress = Progress(None)
        self._batches = 0

    @property
    def _recorder(self) -> Recorder | None:
        recorder: Recorder | None = self.logger.recorder
        return recorder

    @harmless
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        total = _whole(trainer.estimated_stepping_batches)
        self._progress = Progress(total, trainer.global_step)
        if self._recorder is not None:
            self._recorder.update(total_steps=total, n_epochs=_whole(trainer.max_epochs))

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._batches += 1
        self._tell_progress(trainer)
        should_stop = self._recorder is not None and self._recorder.should_stop
        if trainer.world_size > 1:
            if self._batches % max(1, trainer.log_every_n_steps):
                return
            # Every rank comes here at the same batch: what rank 0 knows, all have to do.
            should_stop = trainer.strategy.reduce_boolean_decision(should_stop, all=False)
        if should_stop:
            trainer.should_stop = True

    @harmless
    def _tell_progress(self, trainer: Any) -> None:
        seconds = self._progress.remaining(trainer.global_step)
        if seconds is not None and self._recorder is not None:
            self._recorder.update(seconds_remaining=seconds)

    @harmless
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._recorder is not None:
            self._recorder.update(epochs_completed=trainer.current_epoch + 1)

    @harmless
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._recorder is not None:
            checkpoint["tunelog"] = {"job_id": self._recorder.id}

    @harmless
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for callback in trainer.callbacks:
            early = getattr(callback, "stopped_epoch", None)
            if self._recorder is not None and early:
                reason = getattr(callback, "stopping_reason_message", None)
                words = f"Stopped early. {reason or ''}".strip()
                self._recorder.update(early_stopped=True)
                self._recorder.event(words, type="early_stopped", step=trainer.global_step)


def describe(recorder: Recorder, trainer: Any) -> None:
    """What the trainer and its module say of the job as a fit begins."""
    optimizers = trainer.optimizers
    groups = optimizers[0].param_groups if optimizers else []
    settings = {
        "optimizer": type(optimizers[0]).__name__ if optimizers else None,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "precision": str(trainer.precision),
        "world_size": trainer.world_size,
    }
    fields: dict[str, Any] = {
        "learning_rate": float(groups[0]["lr"]) if groups else None,
        "max_grad_norm": _number(trainer.gradient_clip_val),
        "param_count": sum(p.numel() for p in trainer.lightning_module.parameters()),
    }
    said = {name: value for name, value in fields.items() if value is not None}
    recorder.update(hyperparameters=settings, **said)


def _whole(value: float | None) -> int | None:
    """A number of steps or epochs; None if there is no end."""
    return None if value is None or value < 0 or math.isinf(value) else int(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
