"""Sections as tables for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Section, Yardstick, shown
from bench.goals import Goal, Verdict

RESULTS = Path(__file__).with_name("results.json")
CLUSTER = RESULTS.with_name("cluster.json")
_HEADS = ("what", "goal", "median (min..max)", "p99", "CPU", "memory", "beside")
_GOAL_HEADS = ("what", "goal", "seen", "", "by how much")
_WIDTH = 180
"""Characters a line where there is no terminal to ask."""


def save(sections: Sequence[Section], path: Path = RESULTS) -> None:
    """Keep the results, as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(sections)) + b"\n")


def last(path: Path = RESULTS) -> list[Section]:
    """The results that were kept last."""
    return msgspec.json.decode(path.read_bytes(), type=list[Section])


def tables(sections: Sequence[Section]) -> None:
    """Print one table of all figures, how busy the machine was, and the goals once more."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = _table(_HEADS)
    for section in sections:
        table.add_section()
        table.add_row(section.title.upper(), style="bold")
        for figure in section.figures:
            table.add_row(*_cells(figure, "\n"), style="red" if _missed(figure) else "")
    console.print(table)
    for section in sections:
        console.print(f"{section.title}: {section.machine}; {section.load}", style="dim")
    goals = _table(_GOAL_HEADS)
    for cells in _goals(sections):
        goals.add_row(*cells, style="red" if "missed" in cells else "")
    if goals.rows:
        console.print(goals)


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, overflow="fold", min_width=36 if head == "what" else None)
    return table


def markdown(sections: Sequence[Section]) -> str:
    """A Markdown section for the goals and for each section, for RESULTS.md."""
    lines = ["## Goals", "", _row(_GOAL_HEADS), _row(["---"] * len(_GOAL_HEADS))]
    lines += [*map(_row, _goals(sections)), ""]
    for section in sections:
        lines += [f"## {section.title}", "", f"{section.machine}.", f"Load: {section.load}.", ""]
        lines += [_row(_HEADS), _row(["---"] * len(_HEADS))]
        lines += [_row(_cells(figure, "<br>")) for figure in section.figures]
        lines.append("")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _goals(sections: Sequence[Section]) -> Iterator[list[str]]:
    """A row for each goal of each figure."""
    for section in sections:
        for figure in section.figures:
            for verdict in figure.verdicts():
                goal = verdict.goal
                seen = "" if verdict.seen is None else _valued(figure, goal, verdict.seen)
                told = f"{goal.sign} {_valued(figure, goal, goal.value)}"
                yield [figure.name, told, seen, verdict.word, verdict.margin]


def _valued(figure: Figure, goal: Goal, value: float) -> str:
    """A value as its goal is said: in the figure's unit, or so many times its yardstick."""
    if not goal.beside:
        return shown(value, unit=figure.unit)
    return f"{_times(value)} {goal.beside}"


def _cells(figure: Figure, newline: str) -> list[str]:
    spread, unit = figure.spread, figure.unit
    values = (spread.median, spread.low, spread.high) if spread.samples > 1 else (spread.median,)
    return [
        newline.join(filter(None, (figure.name, figure.note))),
        newline.join(_told(figure, verdict) for verdict in figure.verdicts()),
        shown(*values, unit=unit),
        shown(spread.p99, unit=unit) if spread.samples >= 100 else "",
        "" if figure.cpu is None else shown(figure.cpu, unit="s"),
        "" if figure.memory is None else shown(figure.memory, unit="B"),
        newline.join(_beside(figure, yardstick) for yardstick in figure.yardsticks),
    ]


def _told(figure: Figure, verdict: Verdict) -> str:
    goal = verdict.goal
    return f"{goal.sign} {_valued(figure, goal, goal.value)}: {verdict.word}"


def _missed(figure: Figure) -> bool:
    return any(verdict.word == "missed" for verdict in figure.verdicts())


def _beside(figure: Figure, yardstick: Yardstick) -> str:
    ratio = figure.spread.median / yardstick.value
    return f"{_times(ratio)} {yardstick.name} ({shown(yardstick.value, unit=figure.unit)})"


def _times(ratio: float) -> str:
    """`33x`, `1.2x`, or `1/240 of` where it is far less."""
    if ratio < 0.1:
        return f"1/{1 / ratio:,.0f} of"
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"
