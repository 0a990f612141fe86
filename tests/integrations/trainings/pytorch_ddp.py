"""DistributedDataParallel, for torchrun: ends on every rank when the job is cancelled.

Its argument is which ranks record. Rank 0 writes the job's id, and every rank its last step into a
file of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import tunelog


def main(writers: Any) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = DistributedDataParallel(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = 0
    with tunelog.init("tiny/line", writers=writers) as job:
        if rank == 0:
            print(job.id, flush=True)
        while True:
            step += 1
            loss = model(torch.randn(4, 2) + rank).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            job.log({"loss": loss, "rank": rank}, step=step)
            stop = torch.tensor(int(job.should_stop))
            dist.broadcast(stop, src=0)
            if stop:
                break
    Path(f"rank-{rank}").write_text(str(step))
    dist.destroy_process_group()


main(sys.argv[1])
