"""Hugging Face's Trainer, and TRL's, recorded by a callback.

    trainer = Trainer(..., callbacks=[TunelogCallback()])

docs/integrations.md says what is recorded, and when a training goes on with an earlier job.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

import tunelog
from tunelog.integrations.harmless import Faults, harmless
from tunelog.integrations.hf_job import job_fields, model_name
from tunelog.integrations.hf_trainer import find_trainer
from tunelog.integrations.hf_training import STOPPED, Training
from tunelog.recorder import Recorder
from tunelog.recorder.details import check_names, is_job_id, read_job_file

_SETTINGS = frozenset(inspect.signature(tunelog.init).parameters) - {"fields"}
_NOT_FIELDS = _SETTINGS - {"hyperparameters"}
_NOT_SETTINGS = frozenset({"from_step", "writers"})


class TunelogCallback(TrainerCallback):
    """Records every training of the Trainer that it is given to.

    Each `train()` is a job, or the next attempt of the one that `tunelog.json` in the output
    directory names; `recorder` is where the last one was recorded.
    """

    def __init__(self, *, recorder: Recorder | None = None, **settings: Any) -> None:
        """Nothing is recorded before `train()`.

        Args:
            recorder: one that you made with `tunelog.init`, and will finish yourself; no settings
                then.
            settings: arguments of `tunelog.init`, such as `name`, `tags` or `url`; they win over
                what is found in the training's own arguments.

        Raises `TypeError` for a setting that `tunelog.init` does not know.
        """
        refused = [name for name in settings if recorder is not None or name in _NOT_SETTINGS]
        if refused:
            raise TypeError(f"{refused[0]} cannot be set here")
        check_names({name: None for name in settings if name not in _SETTINGS})
        self._given = recorder
        self._settings = settings
        self._faults = Faults("TunelogCallback", strict=settings.get("strict"))
        self._training: Training | None = None
        self._recorder = recorder

    @property
    def recorder(self) -> Recorder | None:
        """Where the last training is recorded; None before one, and on ranks other than 0."""
        return self._recorder

    # ------------------------------------------------------------ what the Trainer calls

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """A training begins: enter its job."""
        self._leave()
        trainer, resumed_from = find_trainer(self)
        if trainer is not None and self is not _first(trainer.callback_handler.callbacks):
            self._faults.say("a second TunelogCallback of one Trainer", "records nothing")
            return
        output_dir = str(self._settings.get("output_dir") or _output_dir(args, trainer))
        recorder = self._given or self._begin(args, state, model, trainer, output_dir, resumed_from)
        self._recorder = recorder
        with self._faults.caught("on_train_begin"):
            self._training = Training(
                recorder,
                args,
                state,
                trainer,
                ends_job=self._given is None,
                output_dir=_output_dir(args, trainer),
                guard=self._faults.guarded,
            )
            if self._given is not None:
                self._given.update(**job_fields(args, state, model, trainer))

    @harmless
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An optimizer step is done."""
        if self._training is not None and not self._training.ended:
            self._training.step_ended(state, control)

    @harmless
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An epoch is done."""
        if self._training is not None and not self._training.ended:
            self._training.epoch_ended(state, control)

    @harmless
    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """The trainer logs, also in evaluations after the training."""
        if self._training is not None and logs:
            self._training.logged(logs, state)

    def on_predict(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """`predict()` found metrics, which the trainer does not log."""
        if state.is_world_process_zero:
            self.on_log(args, state, control, metrics)

    @harmless
    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """A checkpoint was saved."""
        if self._training is not None:
            self._training.saved(state, model)

    @harmless
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """`train()` returns."""
        if self._training is not None:
            self._training.over(state)

    # ------------------------------------------------------------ beginning

    def _begin(
        self,
        args: Any,
        state: Any,
        model: Any,
        trainer: Any,
        output_dir: str,
        resumed_from: str | None,
    ) -> Recorder | None:
        """The recorder of a training. Raises what `tunelog.init` raises for a wrong setting."""
        if not state.is_world_process_zero and "RANK" not in os.environ:
            return None
        settings: dict[str, Any] = {
            "model": model_name(model),
            "name": getattr(args, "run_name", None),
            "from_step": state.global_step + 1 if state.global_step else 0,
            **self._fields(args, state, model, trainer),
            **self._identity(state, output_dir, resumed_from),
            "output_dir": output_dir,
        }
        recorder = tunelog.init(**settings)
        weakref.finalize(self, recorder.finish, None, 0.0).atexit = False
        with self._faults.caught("on_train_begin"):
            # A job that is known takes nothing from init.
            recorder.update(**{k: v for k, v in settings.items() if k not in _NOT_FIELDS})
        return recorder

    def _fields(self, args: Any, state: Any, model: Any, trainer: Any) -> dict[str, Any]:
        """What is found in the training, and what was set here, which wins."""
        found: dict[str, Any] = {}
        with self._faults.caught("on_train_begin"):
            found = job_fields(args, state, model, trainer)
        chosen = {name: value for name, value in self._settings.items() if value is not None}
        both = {**found.get("hyperparameters", {}), **chosen.get("hyperparameters", {})}
        return {**found, **chosen, "hyperparameters": both}

    def _identity(self, state: Any, output_dir: str, resumed_from: str | None) -> dict[str, Any]:
        """What to tell `tunelog.init` of the job, where its own rules do not know a checkpoint."""
        resume = self._settings.get("resume", "auto")
        given = self._settings.get("job_id") or os.environ.get("TUNELOG_JOB_ID")
        if given or resume != "auto":
            return {}
        here = read_job_file(output_dir)
        entry = here or (read_job_file(resumed_from) if resumed_from else {})
        job_id = entry.get("job_id")
        if not is_job_id(job_id):
            return {}
        if entry.get("status") == STOPPED:
            return (
                {"job_id": job_id, "resume": "must"} if state.global_step else {"resume": "never"}
            )
        return {} if here else {"job_id": job_id}

    def _leave(self) -> None:
        """Let go of the last training, for which nothing more will be logged."""
        if self._recorder is not None and self._recorder is not self._given:
            self._recorder.finish(None, timeout=1)
        self._training = self._recorder = None


def _first(callbacks: list[Any]) -> Any:
    """The one of several that records."""
    return next(callback for callback in callbacks if isinstance(callback, TunelogCallback))


def _output_dir(args: Any, trainer: Any) -> str:
    """Where checkpoints are saved: in a hyperparameter search, each trial's own directory."""
    find: Callable[..., str] | None = getattr(trainer, "_get_output_dir", None)
    return str(args.output_dir if find is None else find(getattr(trainer, "_trial", None)))
