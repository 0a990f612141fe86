"""Fits with Keras: one to its end, one stopped early, one without an end. Writes the jobs' ids."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

from tunelog.integrations.keras import TunelogCallback


class Look(keras.callbacks.Callback):  # type: ignore[misc, name-defined, unused-ignore]
    """Writes the job's id."""

    def __init__(self, recording: TunelogCallback) -> None:
        super().__init__()
        self.recording = recording

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:
            print(self.recording.recorder and self.recording.recorder.id, flush=True)


def fit(model: Any, recording: TunelogCallback, *more: Any, epochs: int = 3) -> None:
    x = np.ones((10, 2))
    model.fit(
        x,
        x.sum(1),
        batch_size=2,
        epochs=epochs,
        validation_data=(x, x.sum(1)),
        callbacks=[recording, Look(recording), *more],
        verbose=0,
    )


def main() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="line")
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
    fit(model, TunelogCallback(name="whole", tags=["keras"]))
    stop = keras.callbacks.EarlyStopping(patience=1)
    fit(model, TunelogCallback("tiny/line", log_every=2), stop, epochs=50)
    fit(model, TunelogCallback(), epochs=100_000)
    print(int(model.optimizer.iterations))


main()
