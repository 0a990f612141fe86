"""`plain_pytorch.py FAIL_AT`: a loop of one's own, with checkpoints and resume.

Begins where the last checkpoint in `out` was saved, if there is one, and fails at a step, if it
comes by it. Writes the job's id.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import tunelog

STEPS = 30
OUT = Path("out")


def main() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    step = 0
    if (saved := OUT / "last.pt").exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    with tunelog.init(
        "tiny/line", output_dir=OUT, from_step=step + 1 if step else None, total_steps=STEPS
    ) as job:
        print(job.id, flush=True)
        while step < STEPS and not job.should_stop:
            loss = model(torch.randn(8, 2)).square().mean()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            tunelog.log({"loss": loss, "grad_norm": norm, "on_device": norm.detach()}, step=step)
            if step == int(sys.argv[1]):
                raise RuntimeError("the driver is gone")
            if step % 10 == 0:
                tunelog.log({"loss": loss.detach()}, step=step, prefix="eval")
                torch.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step,
                    },
                    OUT / "last.pt",
                )
                tunelog.checkpoint(OUT / "last.pt", step=step)
        print(repr(loss.item()), repr(norm.item()))


main()
