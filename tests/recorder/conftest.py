"""`init`: `tunelog.init` into `spool`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tunelog
from tests.recorder.recorded import Init
from tunelog.recorder import current


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def init(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Init]:
    """`tunelog.init` into `spool`, without a sender; what it gave is finished at the end."""
    for name in list(os.environ):
        if name.startswith("TUNELOG_") or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TUNELOG_OFFLINE", "1")
    monkeypatch.setenv("TUNELOG_SPOOL", str(spool))
    given = []

    def start(model: str = "Qwen/Qwen3-0.6B", **settings: Any) -> tunelog.Recorder:
        recorder = tunelog.init(model, **settings)
        given.append(recorder)
        return recorder

    yield start
    for recorder in given:
        recorder.finish(None, timeout=0)
    monkeypatch.setattr(current, "_current", None)
