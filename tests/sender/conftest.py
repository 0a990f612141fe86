"""`spool` and `store`: where a training records, and where the sender takes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sender.sending import new_store
from tunelog.backends.memory import MemoryStore


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TUNELOG_") or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)


@pytest.fixture
def store() -> MemoryStore:
    return new_store()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"
