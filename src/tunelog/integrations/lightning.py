"""PyTorch Lightning 2: a logger for `Trainer(logger=TunelogLogger())`.

It works with the trainers of both `lightning.pytorch` and `pytorch_lightning`. Those have a class
`Logger` each, but look at neither: a trainer calls what a logger has. So the logger is built on the
one whose package is imported already (or installed), and registered as a subclass of the other.

A logger has no hook for a step, and is not told its trainer. But a trainer shows each logger its
module when a run begins (`log_graph`), and the module knows the trainer: then the logger puts a
callback of its own among the trainer's, which follows the steps and stops a cancelled training.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only

from tunelog.integrations.arguments import check_arguments
from tunelog.integrations.harmless import Faults, harmless
from tunelog.integrations.lightning_hooks import describe, hooks_for
from tunelog.integrations.names import Stage, model_of, snapshots
from tunelog.recorder import Recorder, init
from tunelog.recorder.details import read_job_file, write_job_file

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_FROM_CHECKPOINT = ("tunelog", "global_step")


def _base() -> Any:
    """The class `Logger` of the package that is imported already, else of one that is there."""
    imported = [name for name in _PACKAGES if name in sys.modules]
    installed = (name for name in _PACKAGES if find_spec(name.partition(".")[0]))
    return import_module((imported or [*installed, _PACKAGES[0]])[0] + ".loggers").Logger


class TunelogLogger(_base()):  # type: ignore[misc]
    """Records what is logged by `self.log`, and the training's begin, checkpoints and end.

    Metrics are named as `tunelog.integrations.names` says; what is logged in a validation or test
    makes eval snapshots. A snapshot's step is the trainer's `global_step`, optimizer steps done; a
    step of your own, given to `log_metrics`, stays. On ranks above 0 it does nothing.

    A training with `ckpt_path` is the next attempt of the job that the checkpoint is of.

    Args:
        model: the base model's name; if not given, what the hyperparameters have as
            `model_name_or_path`, `model_name` or `model`, else the module's class.
        name: a name for people.
        save_dir, version: with `name` the folder for Lightning's checkpoints,
            `save_dir/name/version/checkpoints`, as with every logger; in the trainer's
            `default_root_dir` without them.
        arguments: any other argument of `tunelog.init`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        version: str | int | None = None,
        **arguments: Any,
    ) -> None:
        check_arguments(arguments)
        super().__init__()
        self._model = model
        self._name = name
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._version = version
        self._arguments = arguments
        self._faults = Faults("TunelogLogger", strict=arguments.get("strict"))
        self._settings: dict[str, Any] = {}
        self._recorder: Recorder | None = None
        self._trainer: Any = None
        self._checkpoint: Mapping[str, Any] = {}
        self._known: tuple[str, str] | None = None
        self._told: set[tuple[str, str]] = set()
        self._register()

    # ------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """The name given; "" without one."""
        return self._name or ""

    @property
    def version(self) -> str | int:
        """The version given; "" without one."""
        return "" if self._version is None else self._version

    @property
    def save_dir(self) -> str | None:
        """The folder given; the trainer's own without one."""
        return self._save_dir

    @property
    def recorder(self) -> Recorder | None:
        """The recorder: None before a run begins, after it has ended, and on ranks above 0."""
        return self._recorder

    @property
    def experiment(self) -> Recorder | None:
        """The recorder, under the name that loggers have for it."""
        return self._recorder

    # ------------------------------------------------------------ what a trainer calls

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Begin the job, as a run of the trainer begins; the model is not recorded."""
        try:
            self._trainer = model.trainer
        except RuntimeError:  # called by someone else, without a trainer
            return
        self._checkpoint = _loaded_checkpoint(self._trainer)
        if self._is_fitting:
            self._follow_steps(self._trainer)
        if rank_zero_only.rank == 0:
            self._describe(self._begin(), self._trainer)

    @harmless
    def log_hyperparams(
        self, params: Mapping[str, Any] | Namespace | None = None, *_: Any, **more: Any
    ) -> None:
        """Take hyperparameters into the job."""
        given = vars(params) if isinstance(params, Namespace) else dict(params or {})
        self._settings = {**self._settings, **given, **more}
        if self._recorder is not None:
            self._recorder.update(hyperparameters={**given, **more})

    @harmless
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics: those of training in one snapshot, those of evaluation in another."""
        if rank_zero_only.rank != 0:
            return
        recorder = self._recorder or self._begin()
        where = self._global_step(step)
        for snapshot in snapshots(metrics, self._stage):
            recorder.log(snapshot, where)

    @harmless
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Record the checkpoint, and leave the job's id beside it."""
        recorder = self._recorder
        path = getattr(checkpoint_callback, "_last_checkpoint_saved", None)
        path = path or checkpoint_callback.last_model_path or checkpoint_callback.best_model_path
        if recorder is None or not path:
            return
        step = None if self._trainer is None else self._trainer.global_step
        recorder.checkpoint(path, step=step or 0)
        beside = os.path.dirname(path), recorder.id
        if "://" not in path and beside not in self._told:
            self._told.add(beside)
            write_job_file(*beside)

    @harmless
    def finalize(self, status: str) -> None:
        """End the job: as completed, or as the exception says that ended the run."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        error = sys.exc_info()[1]
        if status == "success":
            recorder.finish()
        elif status == "finished":  # SLURM sends for the training to be queued again
            recorder.finish(None)
        elif error is not None:
            recorder.__exit__(type(error), error, error.__traceback__)
        else:
            recorder.finish("cancelled" if status == "aborted" else "error")
        is_over = status == "success" and self._is_fitting
        self._known = recorder.id, "test" if is_over else "fit"

    # ------------------------------------------------------------ inside

    @property
    def _is_fitting(self) -> bool:
        return self._trainer is not None and self._trainer.state.fn == "fit"

    @property
    def _stage(self) -> Stage:
        trainer = self._trainer
        if trainer is None or trainer.training:
            return "train"
        return "test" if trainer.testing else "eval" if trainer.validating else "train"

    def _begin(self) -> Recorder:
        """A recorder for the run that begins: of a new job, or one that is known."""
        arguments = {**self._arguments, "name": self._name, **self._entry()}
        if self._checkpoint.get("global_step") and self._is_fitting:
            arguments.setdefault("from_step", self._checkpoint["global_step"] + 1)
        settings = {**self._settings, **arguments.pop("hyperparameters", {})}
        module = getattr(self._trainer, "lightning_module", None)
        model = self._model or model_of(settings) or (type(module).__name__ if module else None)
        self._recorder = init(model or "unknown", hyperparameters=settings, **arguments)
        return self._recorder

    def _entry(self) -> dict[str, str]:
        """The arguments that say which job a run is of, if it is not a new one."""
        if self._known is not None and (not self._is_fitting or self._known[1] == "fit"):
            return {"job_id": self._known[0], "resume": "must"}
        if "job_id" in self._arguments or "TUNELOG_JOB_ID" in os.environ:
            return {}
        path = getattr(self._trainer, "ckpt_path", None)
        entry = self._checkpoint.get("tunelog") or {}
        if not entry and path:
            entry = read_job_file(os.path.dirname(path))
        if not entry.get("job_id"):
            return {}
        return {"job_id": entry["job_id"], **({} if self._is_fitting else {"resume": "must"})}

    def _global_step(self, step: int | None) -> int | None:
        """Optimizer steps done, where Lightning passes a count of its own.

        In training that count is one less, and in a validation by batch it is the batch's number.
        """
        trainer = self._trainer
        if trainer is None:
            return step
        if not self._is_fitting and "global_step" in self._checkpoint:
            return int(self._checkpoint["global_step"])
        lightnings = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", step)
        if step is None or step == lightnings or self._stage != "train":
            return int(trainer.global_step)
        return step

    @harmless
    def _describe(self, recorder: Recorder, trainer: Any) -> None:
        if self._is_fitting:
            describe(recorder, trainer)

    def _follow_steps(self, trainer: Any) -> None:
        """Put a callback of its own among the trainer's, once, before all others."""
        if not any(getattr(callback, "logger", None) is self for callback in trainer.callbacks):
            trainer.callbacks.insert(0, hooks_for(trainer, self))

    def _register(self) -> None:
        """Have `isinstance` know the logger as a `Logger` of each package that is imported."""
        for package in _PACKAGES:
            loggers = sys.modules.get(package + ".loggers")
            if loggers is not None and not isinstance(self, loggers.Logger):
                loggers.Logger.register(type(self))

    def __getstate__(self) -> dict[str, Any]:
        """For a trainer that starts processes with a copy of its loggers."""
        return {**self.__dict__, "_recorder": None, "_trainer": None}


def _loaded_checkpoint(trainer: Any) -> dict[str, Any]:
    """What we need of the checkpoint that a run begins with; empty if it begins with none."""
    connector = getattr(trainer, "_checkpoint_connector", None)
    loaded = getattr(connector, "_loaded_checkpoint", None) or {}
    return {key: loaded[key] for key in _FROM_CHECKPOINT if key in loaded}
