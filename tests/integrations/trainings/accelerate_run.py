"""Trainings with Accelerate, for torchrun: one until its job is cancelled, and one by a name.

The main process writes the job's id, and then its last step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import register_tracker_class

from tunelog.integrations.accelerate import TunelogTracker


def main() -> None:
    tracker = TunelogTracker("tuned", tags=["accelerate"])
    accelerator = Accelerator(log_with=tracker, cpu=True)
    accelerator.init_trackers(
        "project", config={"model_name_or_path": "tiny/line", "lr": 0.1, "lora": {"r": 8}}
    )
    if accelerator.is_main_process:
        print(tracker.tracker.id, flush=True)
        assert accelerator.get_tracker("tunelog", unwrap=True) is tracker.tracker
    model = torch.nn.Linear(2, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    step = 0
    while True:
        step += 1
        loss = model(torch.ones(1, 2)).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"train_loss": loss.detach(), "epoch": 0, "gpu/memory": 1.5}, step=step)
        if step == 10:
            accelerator.log({"eval_loss": 0.5, "val/acc": 1, "text": "no number"}, step=step)
            accelerator.log({"loss": 1.0, "valid_loss": 2.0}, step=step)
        if tracker.should_stop:
            accelerator.set_trigger()
        if accelerator.check_trigger():
            break
    accelerator.log({"last": 1.0})
    if accelerator.is_main_process:
        print(step)
    Path(f"rank-{accelerator.process_index}").write_text(str(step))
    accelerator.end_training()


def by_name() -> None:
    register_tracker_class(TunelogTracker)
    accelerator = Accelerator(log_with="tunelog", cpu=True)
    accelerator.init_trackers("registered", init_kwargs={"tunelog": {"tags": ["by name"]}})
    accelerator.log({"loss": 1.0})
    accelerator.log({"loss": 0.5})
    accelerator.end_training()


main()
by_name()
