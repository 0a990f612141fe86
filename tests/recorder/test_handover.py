"""The attempt that `tunelog run` opens, and the first `init` of its command goes on with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import tunelog
from tests.recorder.recorded import Init
from tests.recording import environment, records, train
from tunelog.recorder import handover


@contextmanager
def running(init: Init, spool: Path, *stated: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A recorder as `tunelog run` has one: its attempt's id, and what its command is told."""
    recorder: tunelog.Recorder = init(name="given", job_id="ft-1")
    variables = environment(spool, **handover.offer(recorder, stated))
    yield variables[handover.ATTEMPT_ID], variables
    handover.withdraw(recorder)


def others(spool: Path, offered: str) -> list[Path]:
    """The spools of the command, in the order in which they were begun."""
    return [path for path in sorted(spool.glob("*.spool")) if offered not in path.name]


def opened(path: Path) -> str:
    (attempt,) = records(path, "attempt")
    return str(attempt["open_id"])


def test_the_first_init_goes_on_with_the_attempt_and_others_have_their_own(
    init: Init, spool: Path
) -> None:
    script = """
import tunelog
job = tunelog.init("first", name="own", tags=["a"])
job.update(status="completed")
job.finish("error", timeout=0)
tunelog.init("second").finish(timeout=0)
"""
    with running(init, spool, "name") as (offered, variables):
        train(script, variables)
        train(script, variables)
        spools = others(spool, offered)
        ids = [opened(path) for path in spools]
        assert ids[0] == offered
        assert len(set(ids)) == 4
        assert all(other.startswith(f"{offered}.") for other in ids[1:])
        for path in spools:
            (end,) = records(path, "finish")
            assert end["status"] is None
            assert records(path, "job")[0]["resume"] == "must"
        updates = [records(path, "update") for path in spools]
        assert [update["details"] for update in updates[0]] == [{"model": "first", "tags": ["a"]}]
        assert updates[1:] == [[], [], []]
    assert list(spool.glob("*.attempt*")) == []


def test_of_many_that_begin_at_once_exactly_one_goes_on(init: Init, spool: Path) -> None:
    script = 'import tunelog; tunelog.init("m").finish(timeout=0)'
    with running(init, spool) as (offered, variables):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: train(script, variables), range(8)))
        ids = [opened(path) for path in others(spool, offered)]
    assert ids.count(offered) == 1
    assert len(set(ids)) == 8


def test_a_rank_that_does_not_record_takes_nothing(init: Init, spool: Path) -> None:
    script = 'import tunelog; tunelog.init("m").finish(timeout=0)'
    with running(init, spool) as (offered, variables):
        train(script, {**variables, "RANK": "1", "WORLD_SIZE": "2"})
        train(script, {**variables, "RANK": "0", "WORLD_SIZE": "2"})
        assert [opened(path) for path in others(spool, offered)] == [offered]


def test_ranks_that_all_record_go_on_with_it_together(init: Init, spool: Path) -> None:
    launcher = """
import os, subprocess, sys
rank = "import tunelog; tunelog.init('m', writers='all').finish(timeout=0)"
for _ in range(2):
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(_)}
    ranks = [subprocess.Popen([sys.executable, "-c", rank], env={**shared, "RANK": str(number)})
             for number in range(2)]
    for process in ranks:
        process.wait()
"""
    with running(init, spool) as (offered, variables):
        train(launcher, variables)
        ids = [opened(path) for path in others(spool, offered)]
    assert ids[:2] == [offered, offered]
    assert ids[2] == ids[3] != offered
    assert ids[2].startswith(f"{offered}.")


def test_a_training_of_another_job_takes_nothing(init: Init, spool: Path) -> None:
    script = """
import tunelog
tunelog.init("m", job_id="ft-2").finish(timeout=0)
tunelog.init("m", resume="never").finish(timeout=0)
"""
    with running(init, spool) as (offered, variables):
        train(script, variables)
        for path in others(spool, offered):
            assert opened(path) in path.name
            assert records(path, "finish")[0]["status"] == "completed"
        assert [path.name for path in spool.glob("*.attempt*")] == [f"ft-1.{offered}.attempt"]


@pytest.mark.parametrize("line", ["pass", "job.finish()", "raise ValueError('bad')"])
def test_what_outlives_run_says_itself_how_it_ended(init: Init, spool: Path, line: str) -> None:
    recorder = init(job_id="ft-1")
    variables = environment(spool, **handover.offer(recorder, ()))
    handover.withdraw(recorder)
    recorder.finish(None, timeout=0)
    train(f'import tunelog; job = tunelog.init("m"); {line}', variables)
    (path,) = others(spool, variables[handover.ATTEMPT_ID])
    expected = {"pass": None, "job.finish()": "completed"}.get(line, "error")
    assert records(path, "finish")[0]["status"] == expected
    assert opened(path).startswith(f"{variables[handover.ATTEMPT_ID]}.")


@pytest.mark.parametrize("id", ["", "../../etc", "0123.", "no-such"])
def test_an_id_that_nobody_offered_is_nothing_to_go_on_with(spool: Path, id: str) -> None:  # noqa: A002
    variables = environment(spool, TUNELOG_JOB_ID="ft-1", TUNELOG_ATTEMPT_ID=id)
    done = train('import tunelog; print(tunelog.init("m").finish(timeout=0))', variables)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    (path,) = spool.glob("*.spool")
    assert records(path, "finish")[0]["status"] == "completed"
    assert os.listdir(spool.parent) == ["spool"]
