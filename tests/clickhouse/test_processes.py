"""Whatever happens to the tests, the processes that they started end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clickhouse.processes import Group, free_port
from tests.serving import PATIENCE

STARTED = """
import sys, time
from pathlib import Path
from tests.clickhouse.processes import Group

group = Group(Path(sys.argv[1]))
group.start("sleep", ["sleep", "1000"])
group.start("paused", ["sleep", "1000"])
group.pause("paused")
print(group.pid("sleep"), group.pid("paused"), flush=True)
time.sleep(1000)
"""


def has_ended(process: int) -> bool:
    """Has the process behind this descriptor ended, or does it in the time it may need?"""
    return bool(select.select([process], [], [], PATIENCE)[0])


def test_they_end_when_the_tests_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        started = [os.pidfd_open(int(pid)) for pid in tests.stdout.readline().split()]
        tests.kill()
    assert [has_ended(process) for process in started] == [True, True]
    for process in started:
        os.close(process)


def test_a_process_that_ends_instead_of_being_ready_is_told_with_its_words(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.start("server", ["sh", "-c", "echo no such file; exit 3"])
    with pytest.raises(RuntimeError, match="server ended with 3:\nno such file"):
        group.wait("server", lambda: False)
    group.close()


def test_a_port_is_given_once(tmp_path: Path) -> None:
    assert len({free_port() for _ in range(100)}) == 100
