"""What was measured: figures with their spread, goals and yardsticks; and how to take them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from msgspec import Struct

from bench.goals import PEERS, Goal, Verdict

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


class Yardstick(Struct, frozen=True):
    """What something else takes for the same, in the figure's unit.

    Attributes:
        name: what it is.
        value: its median.
        is_peer: whether it is a peer, rather than something much plainer, or tunelog itself.
    """

    name: str
    value: float
    is_peer: bool = False


class Figure(Struct, frozen=True, kw_only=True):
    """One line of a table.

    Attributes:
        name: what was measured.
        unit: of every value: seconds, bytes or so many a second.
        spread: what was seen.
        goals: what the median should be, if somebody said so.
        cpu: CPU seconds for one request or call, or for one snapshot where it is a rate; of the
            server, or of this process where there is none.
        memory: the most anonymous memory of the server meanwhile, beyond what it had before.
        yardsticks: what other things take for the same.
        note: what else is to be known.
    """

    name: str
    unit: Unit
    spread: Spread
    goals: tuple[Goal, ...] = ()
    cpu: float | None = None
    memory: float | None = None
    yardsticks: tuple[Yardstick, ...] = ()
    note: str = ""

    def verdicts(self) -> list[Verdict]:
        """Each goal with what was seen of it."""
        return [Verdict(goal, self._seen(goal)) for goal in self.goals]

    def _seen(self, goal: Goal) -> float | None:
        if not goal.beside:
            return self.spread.median
        yardstick = self.fastest_peer() if goal.beside == PEERS else self._yardstick(goal.beside)
        return None if yardstick is None else self.spread.median / yardstick.value

    def fastest_peer(self) -> Yardstick | None:
        """The best of the peers, if there is any."""
        best = max if self.unit == "/s" else min
        peers = [yardstick for yardstick in self.yardsticks if yardstick.is_peer]
        return best(peers, key=lambda peer: peer.value, default=None)

    def _yardstick(self, name: str) -> Yardstick:
        return next(yardstick for yardstick in self.yardsticks if yardstick.name == name)


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
    goals: Sequence[Goal] = (),
    cpu: float | None = None,
    memory: float | None = None,
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
        goals=tuple(goals),
        cpu=cpu,
        memory=memory,
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
    """What calls took: seconds of each, mean CPU seconds of this process, and the yardsticks'."""

    seconds: list[float]
    cpu: float
    beside: list[list[float]]


def repeat(
    call: Callable[[], object],
    *beside: Callable[[], object],
    most: int = 15,
    seconds: float = 2.0,
    warm: bool = False,
) -> Taken:
    """Call until so often or so long, once uncounted unless `warm`.

    At least three times, or fewer if even these would take four times so long. The yardsticks are
    called after each, so that all see the same machine.
    """
    if not warm:
        call()
    taken: list[float] = []
    taken_beside: list[list[float]] = [[] for _ in beside]
    cpu = 0.0
    while not taken or (
        sum(taken) < (4 * seconds if len(taken) < 3 else seconds) and len(taken) < most
    ):
        cpu -= time.process_time()
        taken.append(_seconds(call))
        cpu += time.process_time()
        for yardstick, of_it in zip(beside, taken_beside, strict=True):
            of_it.append(_seconds(yardstick))
    return Taken(taken, cpu / len(taken), taken_beside)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
