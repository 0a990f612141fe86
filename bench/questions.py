"""What is asked of the service: the paths of the reads, by the words of the tables."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import count

from bench.data import SECOND, logged_at

FULL, SAMPLED, TAIL = "full read", "resolution=100", "tail: the last 10 steps"
COMPARABLE = (FULL, SAMPLED, TAIL)
"""Those that peers have something like."""

_numbers = count()


def metrics(job: str, query: str = "") -> str:
    """The path of a read."""
    return f"/v1/fine-tunes/{job}/metrics" + (f"?{query}" if query else "")


def comparable(job: str, steps: int) -> dict[str, str]:
    """What peers are asked, too."""
    return {
        FULL: metrics(job),
        SAMPLED: metrics(job, "resolution=100"),
        TAIL: metrics(job, f"global_step_from={steps - 10}"),
    }


def others(job: str, steps: int) -> dict[str, str]:
    """What else can be asked of a job of so many steps; a window is a tenth, or 1,000 steps."""
    first, last = steps // 2, steps // 2 + min(1000, steps // 10) - 1
    times = f"logged_at_from={_time(first)}&logged_at_to={_time(last)}"
    minmax = "resolution=1000&sampling=minmax&keys=train/loss"
    return {
        "resolution=1000": metrics(job, "resolution=1000"),
        "step window in the middle": metrics(
            job, f"global_step_from={first}&global_step_to={last}"
        ),
        "time window in the middle": metrics(job, times),
        "keys=train/loss, resolution=1000": metrics(job, "resolution=1000&keys=train/loss"),
        "minmax, resolution=1000, one metric": metrics(job, minmax),
        "summary": f"/v1/fine-tunes/{job}/metrics/summary",
    }


def unasked(path: str) -> str:
    """The same question at an address that nobody has asked before, in this process or another.

    The service remembers small answers by their address while nothing changes; a parameter that it
    does not know makes another address of the same question.
    """
    return f"{path}{'&' if '?' in path else '?'}bench={os.getpid()}-{next(_numbers)}"


def _time(step: int) -> str:
    """When a step was logged, to the nanosecond."""
    seconds, nanoseconds = divmod(logged_at(step), SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
