"""What stands in a spool: one function for each type of record, giving its payload.

===========  ===================================================================================
record       fields
===========  ===================================================================================
job          id, fallback_id, resume ("auto", "must", "never"), by_name, details (`JobDetails`), at
attempt      open_id, from_step, writer, at, pid, host, rewinds (in a process that trains already)
snapshot     seq, step, logged_at, values: name to number, or "NaN", "Infinity", "-Infinity", or
             null; floats, if there are nulls: a double for each of them in order, eight bytes each,
             little-endian, the whole in base64
event        id, type, message, level, step, created_at, details
checkpoint   id, step, path, checkpoint_type, checkpoint, created_at
update       at, and those that change: status, seconds_remaining, details
finish       status ("completed", "error", "cancelled", or null: left to the next attempt), at
===========  ===================================================================================

Times are integer nanoseconds since the epoch. A spool begins with its job and its attempt; a later
attempt record begins another attempt of the same process. `seq` counts the writer's snapshots from
0, across attempts, and may skip numbers. Ids make sending again harmless; those of events and
checkpoints begin with the spool's token.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=True).encode


def payload(record: str, fields: Mapping[str, Any]) -> bytes:
    """The payload of any record. Raises `ValueError` or `TypeError` for what JSON cannot say."""
    return _encode({"record": record, **fields}).encode("ascii")


def attempt_payload(
    open_id: str, from_step: int | None, writer: int, *, rewinds: bool = False
) -> bytes:
    """The payload of the record that begins an attempt of this process."""
    fields = {
        "open_id": open_id,
        "from_step": from_step,
        "writer": writer,
        "at": time.time_ns(),
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "rewinds": rewinds,
    }
    return payload("attempt", fields)


def snapshot_payload(seq: int, step: int, logged_at: int, values: str) -> bytes:
    """The payload of a snapshot whose `"values":{…}`, and what follows, is JSON text already."""
    return (
        f'{{"record":"snapshot","seq":{seq},"step":{step},"logged_at":{logged_at},{values}}}'
    ).encode("ascii")


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
