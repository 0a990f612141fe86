"""What the processes of a distributed training tell one another, without a collective.

Only rank 0 records, so it alone hears of a cancel, and it sees only its own losses. Both travel
through the key-value store that torch.distributed has for its rendezvous. A collective of our own
would hang the training if one process did not take part, say because its script adds the callback
on rank 0 only; a look into the store never waits for anybody.

That all processes stop after the same step is owed to the trainer: it gathers the loss of all of
them whenever it logs. What is put into the store before that is there for everyone after it. So
rank 0 says "stop" before a row is logged, and everyone, rank 0 too, looks after the first step that
follows. It says it only if every other process listens: a process that stops alone leaves the
others waiting for it.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from tunelog.integrations.hf_nonfinite import Window

_trainings = itertools.count()


class Ranks:
    """The processes of one training.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        """The other processes have to make theirs, too, as often as this one does."""
        self.rank = rank
        self.size = size
        self._stops = False
        self._name = f"tunelog/{next(_trainings)}"
        self._store = _store() if size > 1 else None
        if self._store is not None and rank != 0:
            self._store.add(f"{self._name}/listening", 1)

    def close(self) -> None:
        """Let go of the store, whose owner may end it now; nothing more is told or heard."""
        self._store = None

    def tell_stop(self) -> bool:
        """On rank 0, before a row is logged: have all stop soon. False if not all would hear it."""
        if self._store is None:
            return False
        if not self._stops:
            if self._store.add(f"{self._name}/listening", 0) < self.size - 1:
                return False
            self._store.set(f"{self._name}/stop", "1")
            self._stops = True
        return True

    def told_stop(self) -> bool:
        """After the first step that follows a logged row: whether all stop now."""
        if self._store is not None and self.rank != 0 and not self._stops:
            self._stops = bool(self._store.check([f"{self._name}/stop"]))
        return self._stops

    def post(self, step: int, window: Window) -> None:
        """On other ranks, before the row of this step is logged: what this process saw."""
        if self._store is not None:
            self._store.set(f"{self._name}/{step}/{self.rank}", json.dumps(window))
            self._store.set(f"{self._name}/{step}", "1")

    def posted(self, step: int) -> list[Window]:
        """On rank 0, when the row of this step is logged: what other processes had to say."""
        if self._store is None or not self._store.check([f"{self._name}/{step}"]):
            return []
        found = []
        for rank in range(1, self.size):
            key = f"{self._name}/{step}/{rank}"
            if self._store.check([key]):
                steps, bad, total = json.loads(self._store.get(key))
                found.append(Window(steps, tuple(bad), total))
        return found


def _store() -> Any:
    """torch.distributed's own store; None without one."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return None
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()
