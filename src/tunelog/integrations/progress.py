"""How long a training will take still, by the pace that it has had."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY = 10.0


class Progress:
    """Estimates what remains of a training of known length, each ten seconds anew.

    Args:
        total_steps: the last step; None if the end is not known, then there is no estimate.
        begin: the steps done before this process began.
        clock: seconds, of any origin.
    """

    def __init__(
        self,
        total_steps: int | None,
        begin: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_steps
        self._begin = begin
        self._clock = clock
        self._began_at = clock()
        self._next = self._began_at

    def remaining(self, step: int) -> float | None:
        """Seconds until the last step, when so many are done; None if it is not time to say so."""
        now = self._clock()
        if self._total is None or now < self._next or step <= self._begin:
            return None
        self._next = now + _EVERY
        pace = (now - self._began_at) / (step - self._begin)
        return pace * max(0, self._total - step)
