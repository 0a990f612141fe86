"""The package's functions, and what importing it costs."""

from __future__ import annotations

from pathlib import Path

import tunelog
from tests.recorder.recorded import Init
from tests.recording import environment, only_spool, records, train


def test_the_functions_of_the_package_record_with_the_last_one(init: Init, spool: Path) -> None:
    job = init()
    tunelog.log({"loss": 1.0}, step=1)
    tunelog.event("hello")
    tunelog.checkpoint("out", step=1)
    tunelog.finish(timeout=0)
    kinds = [record["record"] for record in records(only_spool(spool))]
    assert kinds == ["job", "attempt", "snapshot", "event", "checkpoint", "event", "finish"]
    assert job.id == records(only_spool(spool), "job")[0]["id"]


def test_before_init_they_say_so_once(tmp_path: Path) -> None:
    script = """
import tunelog
tunelog.log({"loss": 1.0}, step=1)
tunelog.event("hello")
print(tunelog.finish())
"""
    done = train(script, environment(tmp_path))
    assert done.stdout == "False\n"
    assert done.stderr == "tunelog: log() before init(): nothing is recorded\n"


def test_importing_tunelog_loads_nothing_heavy_and_starts_nothing(tmp_path: Path) -> None:
    script = """
import os, sys, threading
before = set(sys.modules)
import tunelog
heavy = {"msgspec", "httpx2", "zstandard", "numpy", "sqlite3", "asyncio", "ssl", "socket",
         "subprocess", "starlette", "tunelog.model", "tunelog.store", "tunelog.sender"}
print(sorted(heavy & set(sys.modules)), threading.active_count(), os.path.exists("/proc/self/task"))
print(sorted(tunelog.__all__))
"""
    done = train(script, environment(tmp_path))
    assert done.stdout.splitlines() == [
        "[] 1 True",
        "['Recorder', 'checkpoint', 'event', 'finish', 'init', 'log', 'update']",
    ]
    assert list(tmp_path.iterdir()) == []
