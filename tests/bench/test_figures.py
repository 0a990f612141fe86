"""Figures beside their yardsticks, and the goals they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import report
from bench.figures import Figure, Section, Unit, Yardstick, figure, repeat
from bench.goals import PEERS, Goal

MEMORY = Yardstick("bytes from memory", 0.2)
SLOW, FAST = (
    Yardstick("slow 1.0", 9.0, is_peer=True),
    Yardstick("fast 2.0", 4.0, is_peer=True),
)


def taken(
    goal: Goal, yardsticks: Sequence[Yardstick], *, unit: Unit = "s", samples: Sequence[float]
) -> Figure:
    return figure("full read", unit, samples, goals=[goal], yardsticks=yardsticks)


def goal_rows(figure: Figure) -> list[str]:
    """The lines of the table of goals."""
    markdown = report.markdown([Section("Reads", [figure], "a machine", "no load")])
    return markdown.partition("\n\n## Reads")[0].splitlines()[4:]


def test_a_goal_is_held_to_the_median() -> None:
    goal = Goal("≤", 0.3)

    assert goal_rows(taken(goal, [], samples=[0.1, 0.2, 5.0])) == [
        "| full read | ≤ 300 ms | 200 ms | met | 1.5 times as good |"
    ]
    assert goal_rows(taken(goal, [], samples=[0.1, 0.45, 5.0])) == [
        "| full read | ≤ 300 ms | 450 ms | missed | by 50% |"
    ]


def test_a_goal_beside_a_yardstick_is_held_to_the_ratio() -> None:
    goal = Goal("≤", 1.5, MEMORY.name)

    assert goal_rows(taken(goal, [FAST, MEMORY], samples=[0.24])) == [
        "| full read | ≤ 1.5x bytes from memory | 1.2x bytes from memory | met"
        " | 1.2 times as good |"
    ]
    assert goal_rows(taken(goal, [FAST, MEMORY], samples=[0.75])) == [
        "| full read | ≤ 1.5x bytes from memory | 3.8x bytes from memory | missed"
        " | by a factor of 2.5 |"
    ]


def test_a_goal_beside_the_peers_is_held_to_the_fastest_of_them() -> None:
    """For a time that is the shortest, for a rate the highest; what is no peer does not count."""
    times = taken(Goal("≤", 1 / 20, PEERS), [MEMORY, SLOW, FAST], samples=[0.1])
    rates = taken(Goal("≥", 5, PEERS), [MEMORY, SLOW, FAST], unit="/s", samples=[90.0])

    assert goal_rows(times) == [
        "| full read | ≤ 1/20 of the fastest peer | 1/40 of the fastest peer | met"
        " | 2.0 times as good |"
    ]
    assert goal_rows(rates) == [
        "| full read | ≥ 5x the fastest peer | 10x the fastest peer | met | 2.0 times as good |"
    ]


def test_a_goal_beside_peers_of_whom_there_are_none_is_neither_met_nor_missed() -> None:
    assert goal_rows(taken(Goal("≤", 1 / 20, PEERS), [MEMORY], samples=[0.1])) == [
        "| full read | ≤ 1/20 of the fastest peer |  | not known |  |"
    ]


def test_a_goal_beside_a_yardstick_that_was_not_taken_is_an_error_of_the_benchmark() -> None:
    with pytest.raises(StopIteration):
        taken(Goal("≤", 1.5, "memcpy"), [MEMORY], samples=[0.1]).verdicts()


def test_a_figure_is_shown_as_a_ratio_to_everything_beside_it() -> None:
    one = taken(Goal("≤", 1.5, MEMORY.name), [MEMORY, FAST], samples=[0.1, 0.2, 0.3])
    markdown = report.markdown([Section("Reads", [one], "a machine", "no load")])

    assert markdown.splitlines()[-1] == (
        "| full read | ≤ 1.5x bytes from memory: met | 200 ms (100..300) |  |  |  |"
        " 1x bytes from memory (200 ms)<br>1/20 of fast 2.0 (4.00 s) |"
    )


def test_results_are_the_same_after_they_were_kept(tmp_path: Path) -> None:
    sections = [Section("Reads", [taken(Goal("≤", 1.0), [FAST], samples=[0.1])], "one", "none")]

    report.save(sections, tmp_path / "results.json")

    assert report.last(tmp_path / "results.json") == sections


def test_yardsticks_take_turns_with_what_they_stand_beside() -> None:
    calls: list[str] = []

    taken = repeat(
        lambda: calls.append("ours"),
        lambda: calls.append("memory"),
        lambda: calls.append("memcpy"),
        most=2,
        warm=True,
    )

    assert calls == ["ours", "memory", "memcpy"] * 2
    assert [len(taken.seconds), *map(len, taken.beside)] == [2, 2, 2]
