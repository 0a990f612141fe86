"""Hugging Face Accelerate: a tracker for `Accelerator(log_with=TunelogTracker())`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from tunelog.integrations.arguments import check_arguments
from tunelog.integrations.harmless import Faults, harmless
from tunelog.integrations.names import model_of, snapshots
from tunelog.recorder import Recorder, init


class TunelogTracker(GeneralTracker):
    """Records what `accelerator.log` is given; only the main process does.

    Metrics are named as `tunelog.integrations.names` says. A call without a step is of the step
    after the last one.

    Args:
        name: a name for people. Where the class is registered with Accelerate by
            `register_tracker_class`, it is the project's name.
        model: the base model's name; if not given, what the configuration has as
            `model_name_or_path`, `model_name` or `model`, else "unknown".
        arguments: any other argument of `tunelog.init`.
    """

    name = "tunelog"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self, name: str | None = None, *, model: str | None = None, **arguments: Any
    ) -> None:
        check_arguments(arguments)
        super().__init__()
        self._model = model
        self._arguments = {"name": name, **arguments}
        self._faults = Faults("TunelogTracker", strict=arguments.get("strict"))
        self._recorder: Recorder | None = None
        self._last_step = 0

    @property
    def tracker(self) -> Recorder:
        """The recorder; on other processes than the main one it does nothing."""
        if self._recorder is None:
            self._recorder = init(self._model or "unknown", **self._arguments)
        return self._recorder

    @property
    def should_stop(self) -> bool:
        """Whether someone cancelled the job; always False on other processes than the main one."""
        return self._recorder is not None and self._recorder.should_stop

    @on_main_process
    def start(self) -> None:
        """Begin the job; Accelerate calls it in `init_trackers`."""
        _ = self.tracker

    @on_main_process
    @harmless
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Take the configuration as the job's hyperparameters."""
        self.tracker.update(hyperparameters=values)
        if not self._model and (model := model_of(values)):
            self.tracker.update(model=model)

    @on_main_process
    @harmless
    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Record the values: those of training in one snapshot, those of evaluation in another."""
        if step is None:
            step = self._last_step + 1
        for snapshot in snapshots(values):
            self.tracker.log(snapshot, step)
        if isinstance(step, int):
            self._last_step = step

    @on_main_process
    def finish(self) -> None:
        """End the job; Accelerate calls it in `end_training`."""
        if self._recorder is not None:
            self._recorder.finish()
