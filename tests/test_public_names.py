"""What `tunelog` offers, and what importing it drags in."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import tunelog

HEAVY = {
    *("sqlite3", "asyncio", "starlette", "uvicorn", "uvloop", "httptools", "typer", "rich"),
    *("numpy", "msgspec", "httpx2", "zstandard", "pyarrow", "yaml", "prometheus_client"),
    *("tunelog.server", "tunelog.cli", "tunelog.sender", "tunelog.backends", "tunelog.demo"),
}
SERVER = {
    *("sqlite3", "starlette", "uvicorn", "typer", "numpy", "pyarrow"),
    *("tunelog.server", "tunelog.cli", "tunelog.backends.sqlite", "tunelog.backends.memory"),
}


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh process has after a statement."""
    script = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import tunelog", HEAVY),
        ("import tunelog.recorder", HEAVY),
        ("from tunelog.backends.remote import RemoteStore", SERVER),
        ("import tunelog.sender.process", SERVER),
        ("import tunelog.backends", SERVER),
    ],
)
def test_importing_a_recorder_loads_neither_server_nor_database_drivers(
    statement: str, unwanted: set[str]
) -> None:
    assert imported_by(statement) & unwanted == set()


def test_the_public_names_are_these() -> None:
    assert tunelog.__all__ == [
        *("Recorder", "checkpoint", "event", "finish", "init", "log", "update"),
    ]
    for name in tunelog.__all__:
        assert inspect.getdoc(getattr(tunelog, name)), f"{name} has no docstring"


def test_the_names_of_a_recorder_are_these() -> None:
    names = [name for name in dir(tunelog.Recorder) if not name.startswith("_")]
    assert names == [
        *("attempt", "checkpoint", "event", "finish", "id", "log", "rewind"),
        *("should_stop", "update", "url"),
    ]
