"""Charts in the terminal: one for each metric, its train and eval series together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import plotext

Points = Sequence[tuple[int, float]]

_LARGEST = 1e300
"""Beyond it, the difference of two values may be infinite."""
_MARKS = {"train": ("⠒", 6), "eval": ("o", 5)}
"""How each series is drawn: its sign, its colour (cyan, magenta: both are seen on any ground)."""


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        label: `train`, `eval`, or the metric's whole name.
        points: global_step and value, in order.
    """

    label: str
    points: Points


def grouped(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Charts by title, each with the label and the name of its series: train before eval.

    `train/loss` and `eval/loss` belong to one chart, `loss`.
    """
    charts: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        prefix, _, rest = name.partition("/")
        title, label = (rest, prefix) if prefix in _MARKS and rest else (name, name)
        charts.setdefault(title, []).append((label, name))
    return {title: sorted(series, key=_rank) for title, series in charts.items()}


def is_counter(name: str) -> bool:
    """Whether a metric only counts along with the steps, so that its chart would say nothing."""
    last = name.rpartition("/")[2]
    return last in ("timestamp", "step", "global_step", "epoch") or last.endswith(
        ("_step", "_epoch")
    )


def chart(title: str, series: Sequence[Series], width: int) -> str:
    """A drawing of at most `width` columns, its axes labelled, in the colours of a terminal."""
    import plotext  # takes half a second

    series = [s for s in series if s.points]
    if not series:
        return f"{title}: nothing to draw"
    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.plot_size(width, 12 if width < 100 else 15)
    figure.theme("simple")
    figure.legend(False)
    log = _needs_log([value for one in series for _, value in one.points])
    for one in series:
        _draw(figure, one, log, most_marks=width // 5)
    _rule(figure, series, width, log)
    figure.label("global_step", "x")
    drawing: str = figure.build().string()
    return f"{_heading(title, series, width, log)}\n{drawing.rstrip()}"


def short(value: float) -> str:
    """A number in few characters: 250k, 0.0312, 1.2e-05."""
    if value == int(value) and abs(value) < 10_000:
        return str(int(value))
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 1e4 <= abs(value) < 1e12 and abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most `most` round numbers from `low` to `high`, evenly spaced by 1, 2 or 5 times 10^n."""
    span = (high - low) / max(1, most - 1)
    if span <= 0 or not math.isfinite(span):
        return [low]
    size = 10.0 ** math.floor(math.log10(span))
    step = next((size * m for m in (1, 2, 5, 10) if size * m >= span * 0.999), size * 10)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)][:most] or [low]


def _draw(figure: plotext.figure, series: Series, log: bool, most_marks: int) -> None:
    """A line through the points, and marks on some of them where marks tell the series apart."""
    import plotext

    _, pixel = _MARKS.get(series.label, _MARKS["train"])
    steps = [float(step) for step, _ in series.points]
    heights = [_height(value, log) for _, value in series.points]
    line = figure.signal(steps, heights, marker=plotext.marker("braille", pixel))
    figure.draw(line.lines())
    if series.label == "eval" or len(steps) == 1:
        every = max(1, math.ceil(len(steps) / most_marks))
        marks = plotext.marker("o", pixel)
        figure.draw(figure.signal(steps[::-every], heights[::-every], marker=marks))


def _rule(figure: plotext.figure, series: Sequence[Series], width: int, log: bool) -> None:
    """Set limits and round ticks of both axes."""
    steps = [float(step) for one in series for step, _ in one.points]
    heights = [_height(value, log) for one in series for _, value in one.points]
    low, high = min(steps), max(steps)
    x_ticks = _between_ends(low, high, max(2, (width - 8) // 10))
    figure.ruler("x").lim(*_widened(low, high))
    figure.ruler("x").ticks(x_ticks, [short(tick) for tick in x_ticks])
    low, high = _widened(min(heights), max(heights))
    y_ticks = _powers(low, high) if log else ticks(low, high, 5)
    figure.ruler("y").lim(low, high)
    figure.ruler("y").ticks(y_ticks, [short(10**tick if log else tick) for tick in y_ticks])


def _needs_log(values: Sequence[float]) -> bool:
    """Whether a linear axis would press half of the values into its lowest twentieth."""
    low, high = min(values), max(values)
    if low <= 0 or high <= 100 * low:
        return False
    return sorted(values)[len(values) // 2] < low + (high - low) / 20


def _height(value: float, log: bool) -> float:
    """Where a value stands on the y axis."""
    return math.log10(value) if log else min(max(float(value), -_LARGEST), _LARGEST)


def _powers(low: float, high: float) -> list[float]:
    """Whole numbers, the logarithms of powers of ten, from `low` to `high`: at most six."""
    first, last = math.ceil(low), math.floor(high)
    every = max(1, math.ceil((last - first) / 5))
    return [float(n) for n in range(first, last + 1, every)]


def _between_ends(low: float, high: float, most: int) -> list[float]:
    """The two ends, and round numbers that are not too near to them."""
    if low == high:
        return [low]
    gap = 0.7 * (high - low) / most
    inner = [t for t in ticks(low, high, most, whole=True) if low + gap < t < high - gap]
    return [low, *inner, high]


def _widened(low: float, high: float) -> tuple[float, float]:
    """Limits that are not one and the same number."""
    if high > low and high - low > 1e-12 * max(abs(low), abs(high)):
        return low, high
    around = max(abs(low), abs(high)) * 0.1 or 1.0
    return low - around, high + around


def _heading(title: str, series: Sequence[Series], width: int, log: bool) -> str:
    """The title, and which mark belongs to which series."""
    marks = [(*_MARKS.get(one.label, _MARKS["train"]), one.label) for one in series]
    labels = ["" if label == title else f" {label}" for *_, label in marks]
    room = width - sum(3 + len(label) for label in labels) - (7 if log else 0)
    words = [title if len(title) <= room else f"{title[: max(1, room - 1)]}…"]
    if log:
        words.append("(log)")
    words += [
        f"\x1b[38;5;{colour}m{sign}\x1b[0m{label}"
        for (sign, colour, _), label in zip(marks, labels, strict=True)
    ]
    return "  ".join(words)


def _rank(series: tuple[str, str]) -> int:
    order: Mapping[str, int] = {"train": 0, "eval": 1}
    return order.get(series[0], 2)
