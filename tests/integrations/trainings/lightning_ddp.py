"""A fit of two processes that Lightning itself starts. Writes the job's id."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from tunelog.integrations.lightning import TunelogLogger


class Line(pl.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
    """Fits a line, and tells when it has begun and where it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def on_train_start(self) -> None:
        recorder = self.logger.recorder
        assert (recorder is not None) == (self.global_rank == 0)
        if recorder is not None:
            print(recorder.id, flush=True)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def on_train_end(self) -> None:
        Path(f"rank-{self.global_rank}").write_text(str(self.global_step))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    warnings.simplefilter("ignore")
    trainer = pl.Trainer(
        logger=TunelogLogger(),
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_epochs=-1,
        log_every_n_steps=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(torch.randn(10, 2), batch_size=1))


main()
