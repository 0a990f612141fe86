"""What a framework calls must not raise into its training, whatever a model or setting is like."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tunelog.recorder.losses import say

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def harmless(hook: Callable[_Given, _Answer]) -> Callable[_Given, _Answer | None]:
    """The hook, of which an exception is said on stderr, once, and answers None."""
    said = False

    @wraps(hook)
    def guarded(*given: _Given.args, **named: _Given.kwargs) -> _Answer | None:
        nonlocal said
        try:
            return hook(*given, **named)
        except Exception as error:
            if not said:
                said = True
                say(f"{hook.__qualname__}: {type(error).__name__}: {error}; the training goes on")
            return None

    return guarded
