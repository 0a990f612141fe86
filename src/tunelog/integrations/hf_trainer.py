"""Reaching the Trainer that a callback belongs to: Hugging Face hands callbacks no Trainer."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from transformers import Trainer

Method = Callable[..., Any]


class Found(NamedTuple):
    """What called a callback.

    Attributes:
        trainer: the Trainer, None if it cannot be found.
        resumed_from: the checkpoint's directory that the training goes on from, if it does.
    """

    trainer: Any
    resumed_from: str | None


def find_trainer(callback: object) -> Found:
    """The Trainer that is calling this callback: the nearest caller that holds it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, Trainer) and callback in candidate.callback_handler.callbacks:
            resumed_from = frame.f_locals.get("resume_from_checkpoint")
            return Found(candidate, resumed_from if isinstance(resumed_from, str) else None)
        frame = frame.f_back
    return Found(None, None)


class Hooks:
    """Methods of one Trainer, replaced on this instance until they are put back.

    Subclasses and what others replaced before stay in force: theirs are the methods that are
    called inside.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._replaced: dict[str, tuple[Method, Method | None]] = {}

    def replace(self, name: str, around: Callable[[Method], Method]) -> None:
        """Have `around(method)` called instead of a method, if the Trainer has it."""
        method = getattr(self._trainer, name, None)
        if method is None:
            return
        ours = functools.wraps(method)(around(method))
        self._replaced[name] = ours, vars(self._trainer).get(name)
        setattr(self._trainer, name, ours)

    def put_back(self) -> None:
        """Undo it, but for what somebody else has replaced since."""
        for name, (ours, before) in self._replaced.items():
            if vars(self._trainer).get(name) is not ours:
                continue
            if before is None:
                delattr(self._trainer, name)
            else:
                setattr(self._trainer, name, before)
        self._replaced.clear()
