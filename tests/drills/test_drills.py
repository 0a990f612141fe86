"""Whatever happens, the training is what it is without a recorder, and everything arrives once.

`python -m bench drills` runs the same and prints what it cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.drill import STEPS, Told, plain
from tests.drills.scenarios import ALONE, SHARED, Done
from tests.serving import Server

KILLED = ("trainer killed", "trainer and sender killed")
WHOLE = [name for name in SHARED if name not in (*KILLED, "the spool's disk full")]
LINES = 3
"""The most that a training has to say on standard error."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The training without a recorder."""
    return plain(tmp_path_factory.mktemp("plain"))


def assert_trained_as(done: Done, alone: Told) -> None:
    assert done.told is not None
    assert (done.told.result, done.told.logged) == (alone.result, alone.logged)
    assert_says_little(done.drill.errors)


def assert_says_little(errors: str) -> None:
    lines = errors.splitlines()
    assert all(line.startswith("tunelog: ") for line in lines), errors
    assert len(set(lines)) == len(lines) <= LINES, errors


def assert_all_is_there_once(done: Done, alone: Told) -> None:
    # as text: 0.0 is not -0.0, and 1 is not 1.0
    assert json.dumps(done.drill.arrived()) == json.dumps(alone.logged)
    assert done.drill.checkpoints() == [STEPS, 2 * STEPS, 3 * STEPS]
    told = done.drill.messages()
    assert [told.count(f"phase {phase} is done") for phase in (1, 2, 3)] == [1, 1, 1]
    assert done.drill.status() == "completed"
    assert list(done.drill.spool.iterdir()) == []  # nothing was set aside, either


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_whatever_the_service_does_the_training_is_the_same_and_all_arrives_once(
    server: Server, tmp_path: Path, alone: Told, name: str
) -> None:
    done = SHARED[name](server, tmp_path)
    assert_trained_as(done, alone)
    assert_all_is_there_once(done, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_a_service_that_is_killed_costs_the_training_nothing_and_all_arrives_once(
    tmp_path: Path, alone: Told, name: str
) -> None:
    for done in once(ALONE[name](tmp_path)):
        assert_trained_as(done, alone)
        assert_all_is_there_once(done, alone)


def once(drills: Iterator[Done]) -> Iterator[Done]:
    yield next(drills)
    assert next(drills, None) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_a_training_that_is_killed_has_lost_nothing_but_what_it_was_writing(
    server: Server, tmp_path: Path, alone: Told, name: str
) -> None:
    done = SHARED[name](server, tmp_path)
    arrived = done.drill.arrived()
    assert len(arrived) - done.drill.logged() in (0, 1)  # it may have died before it counted
    assert json.dumps(arrived) == json.dumps(alone.logged[: len(arrived)])
    assert done.drill.status() == "running"
    assert any("went without finish()" in message for message in done.drill.messages())
    assert list(done.drill.spool.iterdir()) == []


@pytest.mark.slow
def test_what_a_full_disk_does_not_take_is_counted_and_told_and_all_else_arrives(
    server: Server, tmp_path: Path, alone: Told
) -> None:
    done = SHARED["the spool's disk full"](server, tmp_path)
    assert_trained_as(done, alone)
    arrived = done.drill.arrived()
    kept = {json.dumps(snapshot) for snapshot in arrived}
    assert len(kept) == len(arrived)
    assert [json.dumps(s) for s in arrived] == [
        j for s in alone.logged if (j := json.dumps(s)) in kept
    ]
    lost = len(alone.logged) - len(arrived)
    assert 0 < lost <= STEPS + 1
    told = [m for m in done.drill.messages() if "could not be recorded" in m][-1]
    counted = re.search(r"'log\(\)' (\d+) ×", told)
    assert counted is not None
    assert int(counted[1]) == lost
    assert done.drill.errors.count("'log()' was not recorded: OSError: [Errno 28] No space") == 1
    assert done.drill.status() == "completed"
