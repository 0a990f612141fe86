"""Jobs, metrics, events in words, for people: in 40 columns, in 120, and in a pipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tunelog.cli.charts import Points, Series, chart, grouped, is_counter, short
from tunelog.cli.screen import chart_width, console, plain
from tunelog.model import (
    ROW_SEPARATOR,
    Attempt,
    Change,
    Checkpoint,
    Event,
    Job,
    MetricSummary,
    Point,
    Reading,
    SnapshotArrived,
    StatusChanged,
    Summary,
)
from tunelog.wire.snapshots import STEP, TIMESTAMP
from tunelog.wire.times import format_time

_COLOURS = {
    "running": "cyan",
    "completed": "green",
    "error": "red",
    "cancelled": "yellow",
    "cancel_requested": "yellow",
}
_LATEST_EVENTS = 10


# ---------------------------------------------------------------- jobs


def print_jobs(jobs: Sequence[Job]) -> None:
    """A line for each job; in a narrow terminal two, so that an id is always whole."""
    out = console()
    if not jobs:
        out.print("no jobs")
        return
    table = _table("ID", "STATUS", "NAME", "MODEL", "CREATED")
    for job in jobs:
        table.add_row(job.id, _status(job), _name(job), _model(job), _time(job.created_at))
    if Measurement.get(out, out.options.update(width=10_000), table).maximum <= out.width:
        out.print(table)
        return
    for job in jobs:
        out.print(Text(job.id, style="bold"))
        words = [job.status, _name(job), _model(job), _time(job.created_at)]
        _flow(out, [word for word in words if word], indent="  ")


def print_heading(job: Job) -> None:
    """Which job it is."""
    out = console()
    out.print(Text(job.id, style="bold"))
    _flow(out, [word for word in (job.status, _name(job), _model(job)) if word])


def print_job(job: Job, attempts: Sequence[Attempt]) -> None:
    """What is known of a job, a line for each thing."""
    out = console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("id", Text(job.id, style="bold"))
    table.add_row("status", _status(job))
    for name, value in _details(job).items():
        table.add_row(plain(name), plain(value))
    for name, when in (
        ("created", job.created_at),
        ("started", job.started_at),
        ("ends, about", job.ends_at),
    ):
        if when is not None:
            table.add_row(name, _time(when))
    if len(attempts) > 1:
        starts = [f"{a.attempt} from step {a.first_step}" for a in attempts]
        table.add_row("attempts", ", ".join(starts))
    out.print(table)


def _details(job: Job) -> dict[str, str]:
    fields: dict[str, Any] = msgspec.to_builtins(job.details)
    shown: dict[str, str] = {}
    for name, value in {**fields, **fields.pop("hyperparameters", {})}.items():
        if name != "hyperparameters" and value is not None:
            shown[name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return shown


def print_checkpoints(checkpoints: Sequence[Checkpoint]) -> None:
    """A line for each checkpoint."""
    out = console()
    if checkpoints:
        out.print("\ncheckpoints")
    for c in checkpoints:
        _flow(out, [_time(c.created_at), f"step {c.step}", c.checkpoint_type, c.path], "  ")


def print_events(events: Sequence[Event]) -> None:
    """A line for each of the latest events, and one for each further line of what it says."""
    out = console()
    out.print("\nevents" if len(events) <= _LATEST_EVENTS else f"\nlatest of {len(events)} events")
    for event in events[-_LATEST_EVENTS:]:
        first, *more = event.message.splitlines() or [""]
        _flow(out, [_time(event.created_at), event.type, first], "  ")
        for line in more:
            _flow(out, [line], "    ")


# ---------------------------------------------------------------- metrics


def read_points(reading: Reading) -> dict[str, list[tuple[int, float]]]:
    """The series of a reading by name."""
    points: dict[str, list[tuple[int, float]]] = {}
    for chunk in reading.chunks:
        for line in chunk.split(ROW_SEPARATOR):
            row = msgspec.json.decode(line)
            step = row[STEP]
            for name, value in row.items():
                if isinstance(value, int | float):
                    points.setdefault(name, []).append((step, value))
    return points


def print_charts(summary: Summary, points: Mapping[str, Points], *, named: bool) -> None:
    """A chart for each metric, and what its series amount to; counters only if `named`."""
    out, width = console(), chart_width()
    counted = summary.snapshots
    out.print(f"{counted['train']:,} train and {counted['eval']:,} eval snapshots")
    left_out = []
    for title, members in grouped(summary.metrics).items():
        if is_counter(title) and not named:
            left_out += [(name, summary.metrics[name]) for _, name in members]
            continue
        series = [Series(plain(label), points.get(name, ())) for label, name in members]
        out.print()
        out.print(Text.from_ansi(chart(plain(title), series, width)))
        _print_amounts([(label, summary.metrics[name]) for label, name in members])
    if left_out:
        out.print()
        _print_amounts(left_out)


def print_summary(summary: Summary) -> None:
    """A line for each metric."""
    out = console()
    counted = summary.snapshots
    out.print(f"\n{counted['train']:,} train and {counted['eval']:,} eval snapshots")
    _print_amounts(list(summary.metrics.items()))


def _print_amounts(series: Sequence[tuple[str, MetricSummary]]) -> None:
    """A line for each series: the least, the greatest and the last value, each with its step."""
    longest = max(len(plain(label)) for label, _ in series) if series else 0
    for label, amounts in series:
        _flow(console(), _amounts(plain(label).ljust(longest), amounts), "  ")


def _amounts(label: str, summary: MetricSummary) -> list[str]:
    """`train`, `min 0.61 @39`, …, to be written side by side."""
    words = [label]
    for what in ("min", "max", "last"):
        point: Point | None = getattr(summary, what)
        if point is not None:
            words.append(f"{what} {short(point.value)} @{point.global_step}")
    if summary.nonfinite:
        words.append(f"{summary.nonfinite} not finite, first @{summary.first_nonfinite_step}")
    return words


def change_line(change: Change) -> str:
    """What happened to a job, in one line."""
    if isinstance(change, StatusChanged):
        return f"status: {change.status}"
    if not isinstance(change, SnapshotArrived):
        return f"attempt {change.attempt} begins: it supersedes steps from {change.from_step} on"
    row = msgspec.json.decode(change.line)
    words = [format_time(row.pop(TIMESTAMP)), f"step {row.pop(STEP)}"]
    words += [f"{plain(name)} {_value(value)}" for name, value in row.items()]
    return "  ".join(words)


# ---------------------------------------------------------------- words


def _flow(out: Console, words: Iterable[str], indent: str = "", width: int | None = None) -> None:
    """Print words two spaces apart, as many to a line as fit; no word is ever cut."""
    width = width or out.width
    line = ""
    for word in map(plain, words):
        if line and len(indent) + len(line) + 2 + len(word) > width:
            out.print(Text(indent + line))
            line = "  " + word
        else:
            line = f"{line}  {word}" if line else word
    out.print(Text(indent + line))


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table


def _status(job: Job) -> Text:
    return Text(job.status, style=_COLOURS.get(job.status, ""))


def _name(job: Job) -> str:
    return plain(job.details.name or job.details.suffix or "")


def _model(job: Job) -> str:
    return plain(job.details.model or "")


def _time(ns: int) -> str:
    """UTC, to the second."""
    return f"{format_time(ns)[:19]}Z"


def _value(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)
