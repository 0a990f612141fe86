"""What a framework calls must not raise into its training, whatever a model or setting is like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tunelog.recorder.losses import say

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Faults:
    """What went wrong in an integration, said on stderr, once for each place."""

    def __init__(self, name: str, *, strict: object = False) -> None:
        """`name` is the integration's. With `strict`, as the recorder has it, they are raised."""
        self._name = name
        self._strict = bool(strict)
        self._said: set[str] = set()

    def say(self, where: str, words: str) -> None:
        """Say it, if nothing was said of that place."""
        if where not in self._said:
            self._said.add(where)
            say(f"{self._name}: {where}: {words}. Said once; the training goes on.")

    def take(self, where: str, error: Exception) -> None:
        """Say what was raised there; with `strict` it goes on."""
        if self._strict:
            raise error
        self.say(where, f"{type(error).__name__}: {error}")

    @contextmanager
    def caught(self, where: str) -> Iterator[None]:
        """A block whose exceptions end here."""
        try:
            yield
        except Exception as error:
            self.take(where, error)

    def guarded(self, method: Callable[_Given, _Answer]) -> Callable[_Given, _Answer | None]:
        """The method, whose exceptions end here; then it answers None."""

        @wraps(method)
        def guarded(*given: _Given.args, **named: _Given.kwargs) -> _Answer | None:
            try:
                return method(*given, **named)
            except Exception as error:
                self.take(method.__name__, error)
                return None

        return guarded


def harmless(hook: Callable[_Given, _Answer]) -> Callable[_Given, _Answer | None]:
    """A method of an object that has `_faults`, which guard it."""

    @wraps(hook)
    def guarded(*given: _Given.args, **named: _Given.kwargs) -> _Answer | None:
        owner: Any = given[0]
        try:
            return hook(*given, **named)
        except Exception as error:
            owner._faults.take(hook.__name__, error)
            return None

    return guarded
