"""Watches the raw losses of a training for NaN and infinities, without waiting for the device.

Trainers average losses before they log them, and may replace what is not finite on the way. So each
batch's own loss is kept where it was made: a copy is queued on its device, and all of them are
fetched once a window, when the trainer fetches what it logs anyway.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

_BATCHES = 64


class Window(NamedTuple):
    """The steps between two logged rows.

    Attributes:
        steps: how many optimizer steps.
        bad: which of them, from 0, had a loss that is not finite, in any of their batches.
        total: the sum of all losses, NaN if it was not asked for.
    """

    steps: int
    bad: tuple[int, ...]
    total: float


class LossWatch:
    """Keeps the losses of all batches since the last look, on the device."""

    def __init__(self) -> None:
        self._losses: Any = None
        self._batches = 0
        self._ends: list[int] = []

    @property
    def steps(self) -> int:
        """How many optimizer steps have ended since the last look."""
        return len(self._ends)

    def see(self, loss: Any) -> None:
        """A batch's loss: a tensor of one number, on any device. A step may have several."""
        loss = loss.detach()
        if self._losses is None:
            self._losses = torch.zeros(_BATCHES, device=loss.device)
        elif self._batches >= len(self._losses):
            self._losses = torch.cat([self._losses, torch.zeros_like(self._losses)])
        self._losses[self._batches].copy_(loss.reshape(()), non_blocking=True)
        self._batches += 1

    def step_ended(self) -> None:
        """What is seen from here on belongs to the next optimizer step."""
        self._ends.append(self._batches)

    def take(self, *, with_total: bool = False) -> Window:
        """What was seen since the last call. This waits for the device."""
        losses: list[float] = []
        if self._losses is not None:
            losses = self._losses[: self._batches].tolist()
        begins = [0, *self._ends]
        bad = tuple(
            index
            for index, end in enumerate(self._ends)
            if not all(map(math.isfinite, losses[begins[index] : end]))
        )
        window = Window(len(self._ends), bad, _total(losses) if with_total else math.nan)
        self._batches, self._ends = 0, []
        return window


def _total(losses: list[float]) -> float:
    """The sum in the precision and order of Hugging Face's Trainer, which so comes out the same."""
    total = torch.zeros(())
    for loss in losses:
        total += loss
    return float(total)
