"""The fault drills of tests/drills, and what they cost: a table for docs/recorder.md."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Spread, shown
from bench.machine import Load, machine
from tests.drills.drill import Snapshot, Told, plain
from tests.drills.scenarios import ALONE, SHARED, Done
from tests.serving import Server

_HEADS = ("drill", "`log()` p50", "p99", "a step", "`log()` of it", "`finish()`", "after `sync`")
_PLAIN_RUNS = 3


def run(folder: Path) -> str:
    """Every drill once; answers the table in Markdown."""
    load = Load()
    alone = [plain(_new(folder, f"plain-{turn}")) for turn in range(_PLAIN_RUNS)]
    step = median(second for told in alone for second in told.step_seconds)
    lines = [_row(_HEADS), _row(["---"] * len(_HEADS))]
    lines.append(_row(["without a recorder", "", "", shown(step, unit="s"), "", "", ""]))
    for name, done in _drills(folder):
        print(f"  {name}", file=sys.stderr)
        lines.append(_row([name, *_cells(done, alone[0])]))
    return "\n".join([*lines, "", f"{machine()}; {load.so_far()}."])


def _drills(folder: Path) -> Iterator[tuple[str, Done]]:
    place = _new(folder, "shared")
    with Server(place) as server:
        for name, scenario in SHARED.items():
            yield name, scenario(server, _new(folder, name))
    for name, alone in ALONE.items():
        for done in alone(_new(folder, name)):
            yield name, done


def _new(folder: Path, name: str) -> Path:
    prefix = name.partition(":")[0].replace(" ", "-")
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=folder))


def _cells(done: Done, alone: Told) -> list[str]:
    arrived = done.drill.arrived()
    logged = alone.logged
    told = done.told
    if told is None:
        expected = done.drill.logged()
        is_prefix = arrived == logged[: len(arrived)] and len(arrived) - expected in (0, 1)
        after = f"all {expected} it had logged" if is_prefix else f"{len(arrived)}: WRONG"
        return ["", "", "", "", "", after]
    if told.result != alone.result:
        return ["", "", "", "", "", "ANOTHER RESULT"]
    spread = Spread.of(told.log_seconds)
    share = sum(told.log_seconds) / sum(told.step_seconds)
    return [
        shown(spread.median, unit="s"),
        shown(spread.p99, unit="s"),
        shown(median(told.step_seconds), unit="s"),
        f"{share:.1%}",
        shown(told.finish_seconds, unit="s"),
        _after(done, arrived, logged),
    ]


def _after(done: Done, arrived: list[Snapshot], logged: list[Snapshot]) -> str:
    if arrived == logged:
        return f"all {len(logged)}, once"
    counted = [words for words in done.drill.messages() if "could not be recorded" in words][-1]
    kept = [snapshot for snapshot in logged if snapshot in arrived]
    if kept != arrived or f"'log()' {len(logged) - len(arrived)} ×" not in counted:
        return f"{len(arrived)}: WRONG"
    return f"{len(arrived)}, once; the other {len(logged) - len(arrived)} counted in an event"


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"
