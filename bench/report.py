"""Sections as tables for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Section, Yardstick, shown

RESULTS = Path(__file__).with_name("results.json")
_HEADS = ("what", "goal", "median (min..max)", "p99", "CPU", "beside the yardstick")
_WIDTH = 150
"""Characters a line where there is no terminal to ask."""


def save(sections: Sequence[Section]) -> None:
    """Keep the results, beside this file."""
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(sections)) + b"\n")


def last() -> list[Section]:
    """The results that were kept last."""
    return msgspec.json.decode(RESULTS.read_bytes(), type=list[Section])


def tables(sections: Sequence[Section]) -> None:
    """Print a table for each section."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for section in sections:
        table = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD)
        for head in _HEADS:
            table.add_column(head, overflow="fold")
        for figure in section.figures:
            style = "bold red" if _verdict(figure) == "missed" else ""
            table.add_row(*_cells(figure, "\n"), style=style)
        console.print(table)
        console.print(f"{section.machine}; {section.load}\n", style="dim")


def markdown(sections: Sequence[Section]) -> str:
    """A Markdown section for each, for RESULTS.md."""
    lines = []
    for section in sections:
        lines += [f"## {section.title}", "", f"{section.machine}.", f"Load: {section.load}.", ""]
        lines += [_row(_HEADS), _row(["---"] * len(_HEADS))]
        lines += [_row(_cells(figure, "<br>")) for figure in section.figures]
        lines.append("")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(figure: Figure, newline: str) -> list[str]:
    spread, unit, goal = figure.spread, figure.unit, figure.goal
    values = (spread.median, spread.low, spread.high) if spread.samples > 1 else (spread.median,)
    return [
        newline.join(filter(None, (figure.name, figure.note))),
        "" if goal is None else f"{goal.sign} {shown(goal.value, unit=unit)}: {_verdict(figure)}",
        shown(*values, unit=unit),
        shown(spread.p99, unit=unit) if spread.samples >= 100 else "",
        "" if figure.cpu is None else shown(figure.cpu, unit="s"),
        newline.join(_beside(figure, yardstick) for yardstick in figure.yardsticks),
    ]


def _beside(figure: Figure, yardstick: Yardstick) -> str:
    ratio = figure.spread.median / yardstick.value
    times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
    return f"{times}x {yardstick.name} ({shown(yardstick.value, unit=figure.unit)})"


def _verdict(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return "met" if figure.goal.met(figure.spread.median) else "missed"
