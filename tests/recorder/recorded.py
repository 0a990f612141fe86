"""What a test finds in its one spool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tunelog
from tests.recording import only_spool, records

Init = Callable[..., tunelog.Recorder]


def snapshots(spool: Path) -> list[dict[str, Any]]:
    return records(only_spool(spool), "snapshot")


def events(spool: Path) -> list[tuple[str, str]]:
    """Level and words of the events in the one spool."""
    return [(event["level"], event["message"]) for event in records(only_spool(spool), "event")]


def ends(spool: Path) -> list[str | None]:
    return [record["status"] for record in records(only_spool(spool), "finish")]
