"""Keras 3: a callback for `model.fit(callbacks=[TunelogCallback()])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tunelog.integrations.arguments import check_arguments
from tunelog.integrations.harmless import Faults, harmless
from tunelog.integrations.names import snapshots
from tunelog.integrations.progress import Progress
from tunelog.recorder import Recorder, init


class TunelogCallback(keras.callbacks.Callback):  # type: ignore[misc, name-defined, unused-ignore]
    """Records each batch's metrics, and each epoch's validation, and stops a cancelled training.

    Keras gives a batch's metrics as means since the epoch's begin, and so they are recorded.

    Args:
        model: the base model's name; if not given, the Keras model's.
        log_every: batches between two snapshots of training.
        arguments: any other argument of `tunelog.init`.

    Attributes:
        recorder: the recorder; None before the training has begun.
    """

    def __init__(self, model: str | None = None, *, log_every: int = 1, **arguments: Any) -> None:
        check_arguments(arguments)
        super().__init__()
        self.recorder: Recorder | None = None
        self._named = model
        self._log_every = max(1, log_every)
        self._arguments = arguments
        self._faults = Faults("TunelogCallback", strict=arguments.get("strict"))
        self._step = self._logged = 0
        self._batches = self._epoch_begin = 0
        self._is_counting = False
        self._epochs_done = 0
        self._progress = Progress(None)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin the job."""
        self.recorder = init(self._named or str(self.model.name), **self._arguments)
        self._is_counting = False
        self._describe(self.recorder)

    @harmless
    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count from the optimizer, which may have been restored from a checkpoint."""
        self._epochs_done = epoch
        if not self._is_counting:
            self._is_counting = True
            self._logged = self._step = int(self.model.optimizer.iterations)
            self._batches = self._step * self._accumulation
            total = self._total_steps(epoch)
            self._progress = Progress(total, self._step)
            if self.recorder is not None:
                self.recorder.update(total_steps=total)
        self._epoch_begin = self._batches

    @harmless
    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record the batch."""
        recorder = self.recorder
        if recorder is None:
            return
        self._batches = self._epoch_begin + batch + 1
        self._step = self._batches // self._accumulation
        if self._step - self._logged >= self._log_every:
            self._log_training(recorder, logs or {})
        if (seconds := self._progress.remaining(self._step)) is not None:
            recorder.update(seconds_remaining=seconds)
        if recorder.should_stop:
            self.model.stop_training = True

    @harmless
    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record the validation, and what of the training is not recorded yet."""
        recorder = self.recorder
        if recorder is None:
            return
        if self._step > self._logged:
            training = {name: value for name, value in (logs or {}).items() if not _is_val(name)}
            self._log_training(recorder, training)
        validation = {name: value for name, value in (logs or {}).items() if _is_val(name)}
        for snapshot in snapshots(validation and {**validation, "epoch": epoch + 1}):
            recorder.log(snapshot, self._step)
        self._epochs_done = epoch + 1
        recorder.update(epochs_completed=epoch + 1)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the job."""
        recorder = self.recorder
        if recorder is None:
            return
        if self._epochs_done < (self.params.get("epochs") or 0) and not recorder.should_stop:
            recorder.update(early_stopped=True)
            recorder.event("Stopped early.", type="early_stopped", step=self._step)
        recorder.finish()

    def _log_training(self, recorder: Recorder, logs: Mapping[str, Any]) -> None:
        for snapshot in snapshots(logs):
            recorder.log(snapshot, self._step)
        self._logged = self._step

    @harmless
    def _describe(self, recorder: Recorder) -> None:
        model = self.model
        settings = {f"optimizer.{key}": of for key, of in model.optimizer.get_config().items()}
        if isinstance(model.loss, str):
            settings["loss"] = model.loss
        recorder.update(
            n_epochs=self.params.get("epochs"),
            param_count=int(model.count_params()),
            hyperparameters=settings,
        )

    @property
    def _accumulation(self) -> int:
        """Batches for one step of the optimizer."""
        return getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1

    def _total_steps(self, epoch: int) -> int | None:
        """The last step, if the number of batches is known, when an epoch begins."""
        epochs, batches = self.params.get("epochs"), self.params.get("steps")
        if not epochs or not batches:
            return None
        return (self._batches + (int(epochs) - epoch) * int(batches)) // self._accumulation


def _is_val(name: str) -> bool:
    return name.startswith("val_")
