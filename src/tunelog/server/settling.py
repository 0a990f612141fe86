"""Results that a thread of the store gives, brought into the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

_Ended = tuple[Future[Any], Callable[[Future[Any]], None]]


class Settling:
    """Tells in an event loop of futures that end in other threads.

    Those that end together, as what a commit acknowledges does, wake the loop once.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: deque[_Ended] = deque()
        self._told = False

    def then(self, future: Future[Any], do: Callable[[Future[Any]], None]) -> None:
        """Call `do` with the future, in the loop that runs now, once it has ended."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._told = loop, False
        future.add_done_callback(lambda ended: self._tell((ended, do)))

    async def result(self, future: Future[Result]) -> Result:
        """The future's result."""
        waiting: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.then(future, lambda ended: _hand_over(ended, waiting))
        return await waiting

    def _tell(self, ended: _Ended) -> None:
        """In any thread; what is appended before `_told` is looked at, a wake under way finds."""
        self._ended.append(ended)
        if not self._told and self._loop is not None and not self._loop.is_closed():
            self._told = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._told = False
        while self._ended:
            future, do = self._ended.popleft()
            try:
                do(future)
            except Exception as error:  # the others are answered all the same
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "what waited for the store failed", "exception": error}
                )


def _hand_over(ended: Future[Result], waiting: asyncio.Future[Result]) -> None:
    if waiting.done():  # who waited was cancelled
        return
    error = ended.exception()
    if error is None:
        waiting.set_result(ended.result())
    else:
        waiting.set_exception(error)
