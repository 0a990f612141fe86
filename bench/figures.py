"""What was measured: figures with their spread, goals and yardsticks; and how to take them."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from msgspec import Struct

Unit = Literal["s", "B", "/s"]


class Spread(Struct, frozen=True):
    """The samples of a figure, summed up."""

    samples: int
    median: float
    low: float
    high: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """The spread of at least one sample."""
        ordered = sorted(samples)
        p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        return cls(len(ordered), median(ordered), ordered[0], ordered[-1], p99)


class Goal(Struct, frozen=True):
    """What the median should be: at most, or at least, so much."""

    sign: Literal["≤", "≥"]
    value: float

    def met(self, value: float) -> bool:
        """Whether a value is as good."""
        return value <= self.value if self.sign == "≤" else value >= self.value


class Yardstick(Struct, frozen=True):
    """What something much plainer takes for the same, in the figure's unit."""

    name: str
    value: float


class Figure(Struct, frozen=True, kw_only=True):
    """One line of a table.

    Attributes:
        name: what was measured.
        unit: of every value: seconds, bytes or so many a second.
        spread: what was seen.
        goal: what the median should be, if somebody said so.
        cpu: CPU seconds for one request or call, or for one snapshot where it is a rate; of the
            server, or of this process where there is none.
        yardsticks: what plainer things take for the same.
        note: what else is to be known.
    """

    name: str
    unit: Unit
    spread: Spread
    goal: Goal | None = None
    cpu: float | None = None
    yardsticks: tuple[Yardstick, ...] = ()
    note: str = ""


class Section(Struct, frozen=True):
    """The figures of one table, and how busy the machine was while they were taken."""

    title: str
    figures: list[Figure]
    machine: str
    load: str


def figure(
    name: str,
    unit: Unit,
    samples: Sequence[float],
    *,
    goal: Goal | None = None,
    cpu: float | None = None,
    yardsticks: Sequence[Yardstick] = (),
    note: str = "",
) -> Figure:
    """A figure of these samples, told on standard error at once."""
    spread = Spread.of(samples)
    print(f"  {name}: {shown(spread.median, unit=unit)}", file=sys.stderr)
    return Figure(
        name=name,
        unit=unit,
        spread=spread,
        goal=goal,
        cpu=cpu,
        yardsticks=tuple(yardsticks),
        note=note,
    )


def shown(*values: float, unit: Unit) -> str:
    """A value as people read it; a median, the lowest and the highest: `1.20 ms (1.10..3.40)`."""
    factor, word = _scale(values[0], unit)
    texts = [_rounded(value * factor) for value in values]
    spread = f" ({texts[1]}..{texts[2]})" if len(texts) == 3 else ""
    return f"{texts[0]}{word}{spread}"


def _scale(value: float, unit: Unit) -> tuple[float, str]:
    if unit == "/s":
        return 1.0, "/s"
    if unit == "B":
        return (1e-6, " MB") if value >= 1e5 else (1.0, " B")
    if value >= 1:
        return 1.0, " s"
    return (1e3, " ms") if value >= 1e-3 else (1e6, " µs")


def _rounded(value: float) -> str:
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


class Taken(NamedTuple):
    """What calls took: seconds of each, mean CPU seconds of this process, and the yardstick's."""

    seconds: list[float]
    cpu: float
    beside: list[float]


def repeat(
    call: Callable[[], object],
    beside: Callable[[], object] | None = None,
    *,
    most: int = 15,
    seconds: float = 2.0,
    warm: bool = False,
) -> Taken:
    """Call until so often or so long, once uncounted unless `warm`.

    At least three times, or fewer if even these would take four times so long. The yardstick, if
    any, is called after each, so that both see the same machine.
    """
    if not warm:
        call()
    taken: list[float] = []
    taken_beside: list[float] = []
    cpu = 0.0
    while not taken or (
        sum(taken) < (4 * seconds if len(taken) < 3 else seconds) and len(taken) < most
    ):
        cpu -= time.process_time()
        taken.append(_seconds(call))
        cpu += time.process_time()
        if beside is not None:
            taken_beside.append(_seconds(beside))
    return Taken(taken, cpu / len(taken), taken_beside)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# ---------------------------------------------------------------- the machine


class Load:
    """How busy the machine is from here on, and how much of that is not this benchmark."""

    def __init__(self) -> None:
        self._begun = os.getloadavg()[0]
        self._busy, self._all = _ticks()
        self._own = _own_seconds()

    def so_far(self) -> str:
        """In words; every process that the benchmark started meanwhile should have ended."""
        busy, every = _ticks()
        others = (busy - self._busy) / os.sysconf("SC_CLK_TCK") - (_own_seconds() - self._own)
        cores = (every - self._all) / os.sysconf("SC_CLK_TCK")
        share = max(0.0, others) / max(cores, 1e-9)
        return (
            f"1-minute load {self._begun:.1f} at the start, {os.getloadavg()[0]:.1f} at the end; "
            f"others used {share:.0%} of the {os.cpu_count()} cores"
        )


def _ticks() -> tuple[int, int]:
    """Ticks that all cores were busy, and all ticks (proc_stat(5))."""
    with open("/proc/stat") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = map(
            int, file.readline().split()[1:9]
        )
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def machine() -> str:
    """The machine and what runs on it, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {versions}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
