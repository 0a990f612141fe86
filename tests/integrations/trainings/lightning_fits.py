"""`lightning_fits.py PACKAGE`: a fit that fails, its resumption, a test, and a fit without an end.

Writes the id of each fit's job. PACKAGE is `lightning.pytorch` or `pytorch_lightning`; the logger's
module is imported first, and so builds its class on the other one's for the latter.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

import torch

from tunelog.integrations.lightning import TunelogLogger

pl = import_module(sys.argv[1])
ModelCheckpoint = import_module(sys.argv[1] + ".callbacks").ModelCheckpoint
Logger = import_module(sys.argv[1] + ".loggers").Logger


class Line(pl.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
    """Fits a line; fails at a step, if one is given."""

    def __init__(self, learning_rate: float, model_name: str, nested: dict[str, int]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)
        self.fail_at: int | None = None

    def loss(self, batch: torch.Tensor) -> Any:
        return (self.layer(batch) - batch.sum(1, keepdim=True)).square().mean()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        if self.global_step == self.fail_at:
            raise RuntimeError("the disk of the data is gone")
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("gpu/memory", 2.0)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))
        self.log("val/nan", float("nan"))
        self.log("accuracy", 0.5)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])


def data() -> Any:
    torch.manual_seed(0)
    return torch.utils.data.DataLoader(torch.randn(10, 2), batch_size=2)


def trainer(logger: TunelogLogger, **more: Any) -> Any:
    return pl.Trainer(
        logger=logger,
        accelerator="cpu",
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def fit(trainer: Any, logger: TunelogLogger, **more: Any) -> str:
    """Fits, and answers the job's id, which the logger knows while a run lasts."""
    found: list[str] = []

    class Look(pl.Callback):  # type: ignore[misc, name-defined, unused-ignore]
        def on_train_start(self, *_: Any) -> None:
            assert logger.recorder is not None
            found.append(logger.recorder.id)
            print(logger.recorder.id, flush=True)

    trainer.callbacks.append(Look())
    trainer.fit(train_dataloaders=data(), val_dataloaders=data(), **more)
    return found[0]


def main() -> None:
    warnings.simplefilter("ignore")
    model = Line(0.125, "tiny/line", {"depth": 3})
    model.fail_at = 7
    save = ModelCheckpoint("out", save_top_k=-1, every_n_train_steps=5)
    try:
        logger = TunelogLogger(name="first", tags=["lightning"])
        fit(trainer(logger, max_epochs=3, callbacks=[save]), logger, model=model)
    except RuntimeError as error:
        print(error)
    model.fail_at = None
    logger = TunelogLogger()
    assert isinstance(logger, Logger)
    resumed = trainer(logger, max_epochs=3, callbacks=[ModelCheckpoint("out")])
    fit(resumed, logger, model=model, ckpt_path=save.best_model_path)
    resumed.test(model, data(), verbose=False)
    logger = TunelogLogger("base", save_dir="logs", name="endless", version=3)
    endless = trainer(logger, max_epochs=-1, enable_checkpointing=False)
    fit(endless, logger, model=model)
    print(endless.global_step)


main()
