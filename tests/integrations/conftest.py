"""`trainer`: trainings in a folder of this test's own, recorded to a server of this test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.trained import Trainer
from tests.serving import Server


@pytest.fixture
def trainer(fresh_server: Server, tmp_path: Path) -> Trainer:
    return Trainer(fresh_server, tmp_path)
