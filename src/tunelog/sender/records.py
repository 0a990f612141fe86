"""A spool's records as types, and as what a store takes. `recorder/records.py` describes them."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tunelog.model import (
    Checkpoint,
    Event,
    Int64,
    JobChanges,
    JobDetails,
    Kind,
    Level,
    Snapshot,
    Status,
)
from tunelog.recorder.records import PACKED
from tunelog.wire.snapshots import NONFINITE, nonfinite_word

NS = 1_000_000_000


class JobRecord(Struct, tag_field="record", tag="job", frozen=True):
    """Which job the spool is of."""

    id: str
    fallback_id: str
    resume: str
    details: dict[str, Any]
    by_name: bool = False

    def valid_details(self) -> tuple[JobDetails, list[str]]:
        """The details that fit their fields, and a reason for each that does not."""
        known, refused = {}, []
        for name, value in self.details.items():
            try:
                msgspec.convert({name: value}, JobDetails)
                known[name] = value
            except msgspec.ValidationError as error:
                refused.append(f"{name}: {error}")
        return msgspec.convert(known, JobDetails), refused


class AttemptRecord(Struct, tag_field="record", tag="attempt", frozen=True):
    """An attempt begins; one that `rewinds` does so inside a process that trains already."""

    open_id: str
    at: int
    from_step: int | None = None
    writer: int = 0
    pid: int = 0
    host: str = ""
    rewinds: bool = False


class PackedRecord(Struct, tag_field="record", tag="packed", frozen=True):
    """A snapshot and its sequence number."""

    names: tuple[str, ...]
    types: Annotated[str, Meta(pattern="^[dq]*$")]
    packed: bytes

    def numbered(self) -> tuple[int, Snapshot]:
        """Its number and the snapshot. Raises `msgspec.ValidationError` if it makes no sense."""
        if len(self.names) != len(self.types):
            raise msgspec.ValidationError(f"{len(self.types)} types for {len(self.names)} names")
        try:
            seq, step, at, *numbers = struct.unpack(PACKED + self.types, self.packed)
        except struct.error as error:
            raise msgspec.ValidationError(str(error)) from None
        values = dict(zip(self.names, numbers, strict=True))
        return seq, Snapshot(_kind(self.names), step, at, values)


class SnapshotRecord(Struct, tag_field="record", tag="snapshot", frozen=True):
    """The same, as version 1 has it."""

    seq: int
    step: int
    logged_at: int
    values: dict[str, Int64 | float | str | None]
    floats: bytes = b""

    def numbered(self) -> tuple[int, Snapshot]:
        """Its number and the snapshot. Raises `msgspec.ValidationError` if it makes no sense."""
        values: dict[str, int | float] = {}
        rest = iter(self._floats())
        for name, value in self.values.items():
            if value is None:
                values[name] = next(rest)
            elif not isinstance(value, str):
                values[name] = value
            elif value in NONFINITE:
                values[name] = NONFINITE[value]
            else:
                raise msgspec.ValidationError(f"{value!r} is no number")
        return self.seq, Snapshot(_kind(tuple(values)), self.step, self.logged_at, values)

    def _floats(self) -> tuple[float, ...]:
        count = list(self.values.values()).count(None)
        if len(self.floats) != 8 * count:
            raise msgspec.ValidationError(f"{len(self.floats)} bytes for {count} floats")
        return struct.unpack(f"<{count}d", self.floats)


@lru_cache(100)
def _kind(names: tuple[str, ...]) -> Kind:
    return "eval" if any(name.startswith("eval/") for name in names) else "train"


class EventRecord(Struct, tag_field="record", tag="event", frozen=True):
    """Something that happened."""

    id: str
    type: str
    message: str
    level: Level
    step: int
    created_at: int
    details: dict[str, str | int | float | None] = {}

    def event(self) -> Event:
        """The event that was recorded."""
        return Event(
            id=self.id,
            type=self.type,
            message=self.message,
            level=self.level,
            step=self.step,
            created_at=self.created_at,
            details=self.details,
        )


class CheckpointRecord(Struct, tag_field="record", tag="checkpoint", frozen=True):
    """A checkpoint was saved."""

    id: str
    step: int
    path: str
    checkpoint_type: str
    created_at: int
    checkpoint: Literal["model", "adapter"] | None = None

    def saved(self) -> Checkpoint:
        """The checkpoint that was recorded."""
        return Checkpoint(
            id=self.id,
            step=self.step,
            path=self.path,
            checkpoint_type=self.checkpoint_type,
            checkpoint=self.checkpoint,
            created_at=self.created_at,
        )


class UpdateRecord(Struct, tag_field="record", tag="update", frozen=True):
    """The job changed."""

    at: int
    status: Status | UnsetType = UNSET
    seconds_remaining: int | UnsetType | None = UNSET
    details: dict[str, Any] = {}

    def changes(self, now: int) -> JobChanges:
        """What changed, the estimate counted from `now` (nanoseconds)."""
        remaining = self.seconds_remaining
        if isinstance(remaining, int):
            remaining = max(0, remaining - max(0, now - self.at) // NS)
        return JobChanges(status=self.status, seconds_remaining=remaining, details=self.details)

    def merged(self, later: UpdateRecord) -> UpdateRecord:
        """This change and a later one in one."""
        details = {**self.details, **later.details}
        mine, its = (u.details.get("hyperparameters") for u in (self, later))
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            details["hyperparameters"] = {**mine, **its}
        estimate = self if later.seconds_remaining is UNSET else later
        return UpdateRecord(
            at=estimate.at,
            status=self.status if later.status is UNSET else later.status,
            seconds_remaining=estimate.seconds_remaining,
            details=details,
        )


class FinishRecord(Struct, tag_field="record", tag="finish", frozen=True):
    """The recording ended."""

    at: int
    status: Status | None = None


Record = (
    JobRecord
    | AttemptRecord
    | PackedRecord
    | SnapshotRecord
    | EventRecord
    | CheckpointRecord
    | UpdateRecord
    | FinishRecord
)

_decode = msgspec.json.Decoder(Record).decode


def decode(payload: bytes) -> Record:
    """The record that a payload is. Raises `msgspec.MsgspecError` for one of another version."""
    record: Record = _decode(payload)
    return record


def readable(payload: bytes) -> dict[str, Any]:
    """The fields of any record as people read them: a snapshot's numbers in decimals."""
    fields: dict[str, Any] = json.loads(payload)
    with contextlib.suppress(msgspec.MsgspecError):
        record = decode(payload)
        if isinstance(record, (PackedRecord, SnapshotRecord)):
            seq, snapshot = record.numbered()
            values = {
                name: value if math.isfinite(value) else nonfinite_word(value)
                for name, value in snapshot.values.items()
            }
            at = {"step": snapshot.global_step, "logged_at": snapshot.logged_at}
            return {"record": "snapshot", "seq": seq, **at, "values": values}
    return fields
