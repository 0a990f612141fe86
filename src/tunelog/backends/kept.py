"""Snapshots that come from another backend."""

from __future__ import annotations

from tunelog.model import Snapshot
from tunelog.portable import KeptSnapshot
from tunelog.wire.snapshots import decode_values


def snapshot_of(kept: KeptSnapshot) -> Snapshot:
    """What was logged, out of its texts."""
    values = decode_values(kept.line, kept.exact)
    return Snapshot(kept.kind, kept.global_step, kept.logged_at, values)
