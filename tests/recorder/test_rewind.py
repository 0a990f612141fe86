"""`rewind`: a loop that rolls back inside one process."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from tests.recorder.recorded import Init
from tests.recording import only_spool, records
from tests.sender.sending import Troubled, drain, draining, new_store, rows
from tunelog.backends.memory import MemoryStore
from tunelog.model import SnapshotQuery
from tunelog.recorder.state import State


def rolled_back(init: Init) -> None:
    """Steps 1 to 6, then back: steps 4 and 5 are run again and 6 never is."""
    job = init(job_id="ft-1")
    for step in range(1, 7):
        job.log({"loss": float(step)}, step)
    job.log({"loss": 6.5}, 6, prefix="eval")
    job.rewind(4)
    for step in (4, 5):
        job.log({"loss": 10.0 + step}, step)
    job.finish()


def losses(found: list[dict[str, float]]) -> list[tuple[float, float | None]]:
    return [(row["train/global_step"], row.get("train/loss")) for row in found]


def test_what_was_logged_from_the_step_on_is_superseded(init: Init, spool: Path) -> None:
    rolled_back(init)
    store = new_store()
    drain(only_spool(spool), store)
    steps = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0)]
    assert losses(rows(store, "ft-1")) == steps
    assert len(rows(store, "ft-1", SnapshotQuery(attempt="all"))) == 9
    assert [(a.attempt, a.from_step) for a in store.attempts("ft-1")] == [(1, None), (2, 4)]
    told = [e.step for e in store.events("ft-1") if e.message == "Rewound: step 4 is run again"]
    assert told == [4]
    assert [e.type for e in store.events("ft-1")].count("training_start") == 1
    assert store.job("ft-1").status == "completed"


def test_it_takes_effect_before_anything_is_logged_again(init: Init, spool: Path) -> None:
    job = init(job_id="ft-1")
    job.log({"loss": 1.0}, 1)
    job.log({"loss": 2.0}, 2)
    job.rewind(2)
    store = new_store()
    drain(only_spool(spool), store)
    assert losses(rows(store, "ft-1")) == [(1, 1.0)]
    assert job.attempt == 2


class Killed(BaseException):
    """The sender's process is gone."""


def killed_after(path: Path, store: MemoryStore, nth: int) -> bool:
    """Send a spool until the sender is killed, just after its nth call of the store or its nth note
    of how far it is. Answers whether it lived to the end."""
    steps = itertools.count(1)

    def die(*_: object) -> None:
        if next(steps) == nth:
            raise Killed

    troubled = Troubled(store)
    troubled.after = die
    with draining(path, troubled.as_store) as sending:
        save = sending._state_file.write

        def save_and_die(state: State) -> None:
            save(state)
            die()

        sending._state_file.write = save_and_die  # type: ignore[method-assign]
        with contextlib.suppress(Killed):
            while sending.send():
                pass
            return True
    return False


def test_a_sender_that_is_killed_anywhere_puts_nothing_into_the_wrong_attempt(
    init: Init, spool: Path
) -> None:
    rolled_back(init)
    path = only_spool(spool)
    state = Path(f"{path}.state")
    for nth in itertools.count(1):
        state.unlink(missing_ok=True)
        store = new_store()
        if killed_after(path, store, nth):
            break
        assert killed_after(path, store, 0)
        assert losses(rows(store, "ft-1"))[3:] == [(4, 14.0), (5, 15.0)], nth
        assert len(rows(store, "ft-1", SnapshotQuery(attempt=1))) == 7, nth
        assert len(rows(store, "ft-1", SnapshotQuery(attempt=2))) == 2, nth
    assert nth > 10


@pytest.mark.parametrize("step", [None, -1, 1.5, "three", True])
def test_a_step_that_is_none_is_said_and_changes_nothing(
    init: Init, spool: Path, step: object, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init()
    job.rewind(step)  # type: ignore[arg-type]
    assert len(records(only_spool(spool), "attempt")) == 1
    assert "'rewind()' was not recorded: step is" in capsys.readouterr().err
