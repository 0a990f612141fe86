"""Results that are there already, where a future is asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def done(work: Callable[[], Result]) -> Future[Result]:
    """A future with the result of `work`, or its error."""
    future: Future[Result] = Future()
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    return future
