"""Snapshots to store, and readings taken apart."""

from __future__ import annotations

import json
from typing import Any

from tunelog.model import Batch, Kind, Reading, Snapshot

SECOND = 1_000_000_000
T0 = 1_779_196_193_564_587_001


def train(step: int, at: int | None = None, **values: float) -> Snapshot:
    """A train snapshot; at `step` seconds after T0 unless `at` says otherwise."""
    return _snapshot("train", step, at, values or {"loss": 1 / (step + 1)})


def evaluated(step: int, at: int | None = None, **values: float) -> Snapshot:
    """An eval snapshot, half a second after the train snapshot of its step."""
    at = T0 + step * SECOND + SECOND // 2 if at is None else at
    return _snapshot("eval", step, at, values or {"loss": 2 / (step + 1)})


def _snapshot(kind: Kind, step: int, at: int | None, values: dict[str, float]) -> Snapshot:
    at = T0 + step * SECOND if at is None else at
    return Snapshot(kind, step, at, {f"{kind}/{name}": value for name, value in values.items()})


def batch(*snapshots: Snapshot, **fields: Any) -> Batch:
    return Batch(snapshots=snapshots, **fields)


def rows(reading: Reading) -> list[dict[str, Any]]:
    """The snapshots of a reading, parsed; and the count that it promised is kept."""
    parsed: list[dict[str, Any]] = []
    for chunk in reading.chunks:
        parsed += json.loads(b"[" + chunk + b"]", parse_constant=_refuse)
    assert len(parsed) == reading.returned
    return parsed


def steps(reading: Reading) -> list[int]:
    return [row["train/global_step"] for row in rows(reading)]


def _refuse(token: str) -> None:
    raise AssertionError(f"{token} is not JSON")
