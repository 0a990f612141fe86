"""What tests of the recorder and the sender share: trainings to record, and spools to look into."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelog.recorder.spool import Damage, Frame, SpoolReader
from tunelog.sender.records import readable

PATIENCE = 30.0
"""Seconds after which something that should have happened is taken to have failed."""


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer of `condition`, asked for until patience (seconds) ends."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return answer


def read_all(path: str | Path) -> list[Frame | Damage]:
    """Everything in a spool that is complete."""
    reader = SpoolReader(str(path))
    found: list[Frame | Damage] = []
    while (item := reader.next()) is not None:
        found.append(item)
    reader.close()
    return found


def records(path: str | Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The whole records of a spool as dicts; only those of one type, if it is given."""
    frames = [found for found in read_all(path) if isinstance(found, Frame)]
    found = [readable(frame.payload) for frame in frames]
    return [record for record in found if kind in (None, record["record"])]


def only_spool(folder: Path) -> Path:
    """The one spool in a folder."""
    (path,) = folder.glob("*.spool")
    return path


def senders(spool: Path) -> list[int]:
    """The process ids of the senders of a directory's spools, or of one spool."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"tunelog.sender" in command and os.fsencode(spool) in command:
                found.append(int(process.name))
    return found


def environment(spool: Path, **variables: str) -> dict[str, str]:
    """The environment of a training that records into `spool`, and of nothing else of tunelog's."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TUNELOG_") and name not in ("RANK", "WORLD_SIZE")
    }
    return {
        **inherited,
        "TUNELOG_SPOOL": str(spool),
        "TUNELOG_OFFLINE": "1",
        "TUNELOG_API_KEY": "tl-key",
        **variables,
    }


@contextmanager
def training(script: str, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A training as a process of its own, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=dict(variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def train(script: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A training from its begin to its end."""
    with training(script, variables) as process:
        out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(script, process.returncode, out, err)
