"""What stands in a spool: the types of records.

===========  ===================================================================================
record       fields
===========  ===================================================================================
job          id, fallback_id, resume ("auto", "must", "never"), by_name, details (`JobDetails`), at
attempt      open_id, from_step, writer, at, pid, host, rewinds (in a process that trains already)
packed       a snapshot. names; types: a letter for each, d for a double, q for an int64; packed:
             seq, step, logged_at and the values, eight bytes each, little-endian, in base64
event        id, type, message, level, step, created_at, details
checkpoint   id, step, path, checkpoint_type, checkpoint, created_at
update       at, and those that change: status, seconds_remaining, details
finish       status ("completed", "error", "cancelled", or null: left to the next attempt), at
===========  ===================================================================================

Times are integer nanoseconds since the epoch. A spool begins with its job and its attempt; a later
attempt record begins another attempt of the same process. `seq` counts the writer's snapshots from
0, across attempts, and may skip numbers. Ids make sending again harmless; those of events and
checkpoints begin with the spool's token.

Version 1 has, in place of packed, `snapshot`: seq, step, logged_at; values: name to number, or
"NaN", "Infinity", "-Infinity", or null; floats, if there are nulls: a double for each of them in
order, eight bytes each, little-endian, the whole in base64.
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tunelog.recorder.spool import framed

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

PACKED = "<3q"
"""How seq, step and logged_at are packed (`struct`); the types of the values follow."""

PACKED_END = b'"}'

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=True).encode


def framed_record(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Any record.

    Raises `ValueError` or `TypeError` for what JSON cannot say, `OSError` if it is too large.
    """
    return framed(_payload(kind, fields))


def _payload(kind: str, fields: Mapping[str, Any]) -> bytes:
    return _encode({"record": kind, **fields}).encode("ascii")


def attempt_record(
    open_id: str, from_step: int | None, writer: int, *, rewinds: bool = False
) -> bytes:
    """The record that begins an attempt of this process."""
    fields = {
        "open_id": open_id,
        "from_step": from_step,
        "writer": writer,
        "at": time.time_ns(),
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "rewinds": rewinds,
    }
    return framed_record("attempt", fields)


def packed_head(names: list[str], types: str) -> tuple[bytes, int]:
    """How the packed payload of a snapshot of these begins, and the bytes of what follows."""
    fields = {"names": names, "types": types, "packed": ""}
    base64 = -(-struct.calcsize(PACKED + types) // 3) * 4
    return _payload("packed", fields).removesuffix(PACKED_END), base64 + len(PACKED_END)


def clean(text: object, most: int = 8000) -> str:
    """Words that JSON can carry: no halves of surrogate pairs, not endless."""
    words = str(text).encode("utf-8", "replace").decode()
    return words if len(words) <= most else words[: most - 1] + "…"


def plain(value: Any) -> Any:
    """A value as JSON can say it: numbers, texts, booleans, and lists and dicts of them.

    numpy scalars become numbers; what JSON has no word for becomes the text that `str` makes of it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int):
        return int(value) if INT64_MIN <= value <= INT64_MAX else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {clean(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        item = value.item()
        return plain(item) if isinstance(item, (bool, int, float)) else clean(item)
    return clean(value)


def flat(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as the service keeps them, flat: `{"lora": {"r": 8}}` is `{"lora.r": 8}`."""
    return dict(_flat(plain(hyperparameters), ""))


def _flat(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, json.dumps(value) if isinstance(value, list) else value
