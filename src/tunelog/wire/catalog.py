"""Jobs, attempts, events, checkpoints and summaries in JSON, as Together's schema has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from tunelog.errors import InvalidRequest
from tunelog.lifecycle import seconds_until_next_state
from tunelog.model import (
    INT64_MAX,
    Attempt,
    Checkpoint,
    Event,
    Job,
    JobChanges,
    JobDetails,
    LoraTraining,
    Status,
    Summary,
)
from tunelog.wire.snapshots import loads, whole_field
from tunelog.wire.times import format_time, parse_time

encode = msgspec.json.Encoder().encode

JOB_ID = re.compile(r"ft-[A-Za-z0-9][A-Za-z0-9._:-]{0,124}")
_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DETAIL_NAMES = tuple(JobDetails.__struct_fields__)
_INTEGERS = frozenset(
    name
    for struct in (JobDetails, LoraTraining)
    for name, kind in struct.__annotations__.items()
    if kind.startswith("Int64")
)
_EVENT_DEFAULTS: Mapping[str, str | int] = {
    "hash": "",
    "checkpoint_path": "",
    "model_path": "",
    "wandb_url": "",
    "param_count": 0,
    "token_count": 0,
    "total_steps": 0,
    "training_offset": 0,
}
_EVENT_NUMBERS = (
    "param_count",
    "token_count",
    "total_steps",
    "training_offset",
    "early_stopping_best_step",
)
_EVENT_TEXTS = ("hash", "checkpoint_path", "model_path", "wandb_url")
_STATUSES = frozenset(Status.__args__)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- jobs


def job_fields(job: Job, user_id: str) -> dict[str, Any]:
    """A job as Together's clients read it; details that are unknown are absent.

    Their schema knows the batch size "max" on `retrieve` alone: `listed_job_fields` is the rest's.
    """
    estimate = seconds_until_next_state(job)
    fields: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "user_id": user_id,
        "created_at": format_time(job.created_at),
        "updated_at": format_time(job.updated_at),
        "total_price": 0,
        "progress": {
            "estimate_available": estimate is not None,
            "seconds_remaining": estimate or 0,
        },
    }
    if job.started_at is not None:
        fields["started_at"] = format_time(job.started_at)
    fields.update(msgspec.to_builtins(job.details))
    return fields


def listed_job_fields(job: Job, user_id: str) -> dict[str, Any]:
    """A job in the truncated form: in lists, and as the answer to a change."""
    fields = job_fields(job, user_id)
    if fields.get("batch_size") == "max":
        del fields["batch_size"]
    return fields


def parse_new_job(body: bytes) -> tuple[str | None, JobDetails]:
    """The id, if one is given, and the details of a job to register; `model` is required."""
    fields = loads(body)
    job_id = fields.get("id")
    if job_id is not None and not (isinstance(job_id, str) and JOB_ID.fullmatch(job_id)):
        raise InvalidRequest(
            "id: ft- and then letters, digits and . _ : - are wanted, 128 characters at most",
            param="id",
        )
    details = _details(fields)
    if not details.model:
        raise InvalidRequest("model: the name of the base model is required", param="model")
    return job_id, details


def parse_job_changes(body: bytes) -> JobChanges:
    """The partial update in a PATCH body; null clears a field."""
    fields = loads(body)
    status = fields.get("status", UNSET)
    if status is not UNSET and (not isinstance(status, str) or status not in _STATUSES):
        raise InvalidRequest(f"status: none of {', '.join(Status.__args__)}", param="status")  # type: ignore[attr-defined]
    _details({name: value for name, value in fields.items() if value is not None})
    if fields.get("model", UNSET) in (None, ""):
        raise InvalidRequest("model: cannot be cleared", param="model")
    details = {name: fields[name] for name in _DETAIL_NAMES if name in fields}
    return JobChanges(
        status=cast(Status | UnsetType, status),
        seconds_remaining=_seconds_remaining(fields.get("progress")),
        details=_checked(details),
    )


def encode_new_job(details: JobDetails, job_id: str | None) -> bytes:
    """The body that registers a job."""
    fields = msgspec.to_builtins(details)
    return encode({**fields, "id": job_id} if job_id else fields)


def encode_job_changes(changes: JobChanges) -> bytes:
    """The body that changes a job."""
    fields = dict(changes.details)
    if changes.status is not UNSET:
        fields["status"] = changes.status
    if changes.seconds_remaining is not UNSET:
        fields["progress"] = {"seconds_remaining": changes.seconds_remaining}
    return encode(fields)


def decode_job(fields: Mapping[str, Any]) -> Job:
    """A job that a service answered; `heard_at` is not on the wire and reads as `updated_at`."""
    updated_at = parse_time(fields["updated_at"], "updated_at")
    created_at = parse_time(fields["created_at"], "created_at")
    started_at = parse_time(fields["started_at"], "started_at") if "started_at" in fields else None
    progress = fields["progress"]
    begin = created_at if started_at is None else started_at
    return Job(
        id=fields["id"],
        status=fields["status"],
        created_at=created_at,
        updated_at=updated_at,
        heard_at=updated_at,
        started_at=started_at,
        ends_at=begin + progress["seconds_remaining"] * 1_000_000_000
        if progress["estimate_available"]
        else None,
        details=_details({**fields, "total_price": fields["total_price"] or None}),
    )


def _details(fields: Mapping[str, Any]) -> JobDetails:
    known = {name: _as_int(name, fields[name]) for name in _DETAIL_NAMES if name in fields}
    try:
        return msgspec.convert(known, JobDetails)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None


def _as_int(name: str, value: Any) -> Any:
    """A whole number as an integer, where one is wanted: JSON's 7.0 is an integer, too."""
    if name in _INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "training_type" and isinstance(value, dict):
        return {key: _as_int(key, item) for key, item in value.items()}
    return value


def _checked(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details to change, each as the struct holds it."""
    whole = _details({name: value for name, value in details.items() if value is not None})
    return {
        name: None if value is None else getattr(whole, name) for name, value in details.items()
    }


def _seconds_remaining(progress: Any) -> Any:
    if progress is None:
        return UNSET
    if not isinstance(progress, dict):
        raise InvalidRequest("progress: an object is wanted", param="progress")
    if "seconds_remaining" not in progress:
        return UNSET
    return whole_field(
        progress["seconds_remaining"], "progress.seconds_remaining", 0, 100 * 366 * 86_400
    )


# ---------------------------------------------------------------- attempts


def attempt_fields(attempt: Attempt) -> dict[str, Any]:
    """An attempt in a list."""
    opened_at = None if attempt.opened_at is None else format_time(attempt.opened_at)
    return {
        "attempt": attempt.attempt,
        "from_step": attempt.from_step,
        "first_step": attempt.first_step,
        "opened_at": opened_at,
        "id": attempt.open_id,
    }


def parse_attempt(body: bytes) -> tuple[int | None, str | None]:
    """`from_step` and the caller's id of an attempt to open; both may be absent."""
    if not body:
        return None, None
    fields = loads(body)
    return whole_field(fields.get("from_step"), "from_step", 0, INT64_MAX), _own_id(fields)


def decode_attempt(fields: Mapping[str, Any]) -> Attempt:
    """An attempt that a service answered."""
    opened_at = fields.get("opened_at")
    return Attempt(
        attempt=fields["attempt"],
        from_step=fields["from_step"],
        first_step=fields.get("first_step"),
        opened_at=None if opened_at is None else parse_time(opened_at, "opened_at"),
        open_id=fields.get("id"),
    )


# ---------------------------------------------------------------- events and checkpoints


def event_fields(event: Event) -> dict[str, Any]:
    """An event as Together's clients read it, old typed ones included."""
    return {
        "object": "fine-tune-event",
        "type": event.type,
        "message": event.message,
        "level": event.level,
        "created_at": format_time(event.created_at),
        "step": event.step,
        **_EVENT_DEFAULTS,
        **event.details,
        **({"id": event.id} if event.id else {}),
    }


def parse_event(body: bytes, now: int) -> Event:
    """An event to append; `created_at` is `now` unless given."""
    fields = loads(body)
    kind = fields.get("type")
    if not (isinstance(kind, str) and _EVENT_TYPE.fullmatch(kind)):
        raise InvalidRequest("type: a lower-case word such as warning is required", param="type")
    level = fields.get("level", "info")
    if level not in ("info", "warning", "error", None):
        raise InvalidRequest("level: info, warning, error or null is wanted", param="level")
    details: dict[str, str | int | float | None] = {}
    for name in _EVENT_TEXTS:
        if fields.get(name) is not None:
            details[name] = _text(fields, name)
    for name in _EVENT_NUMBERS:
        if fields.get(name) is not None:
            details[name] = whole_field(fields[name], name, 0, INT64_MAX)
    if "early_stopping_best_metric_value" in fields:
        details["early_stopping_best_metric_value"] = _metric_value(fields)
    return Event(
        type=kind,
        message=_text(fields, "message"),
        level=level,
        created_at=_created_at(fields, now),
        step=whole_field(fields.get("step"), "step", 0, INT64_MAX) or 0,
        id=_own_id(fields),
        details=details,
    )


def encode_event(event: Event) -> bytes:
    """The body that appends an event."""
    fields = event_fields(event)
    own = {k: v for k, v in fields.items() if k not in _EVENT_DEFAULTS or k in event.details}
    return encode(own)


def decode_event(fields: Mapping[str, Any]) -> Event:
    """An event that a service answered."""
    names = (*_EVENT_TEXTS, *_EVENT_NUMBERS, "early_stopping_best_metric_value")
    return Event(
        type=fields["type"],
        message=fields["message"],
        level=fields["level"],
        created_at=parse_time(fields["created_at"], "created_at"),
        step=fields["step"],
        id=fields.get("id"),
        details={
            name: fields[name]
            for name in names
            if name in fields
            and (name not in _EVENT_DEFAULTS or fields[name] != _EVENT_DEFAULTS[name])
        },
    )


def checkpoint_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as Together's clients read it."""
    return {
        "checkpoint_type": checkpoint.checkpoint_type,
        "step": checkpoint.step,
        "path": checkpoint.path,
        "created_at": format_time(checkpoint.created_at),
        **({"checkpoint": checkpoint.checkpoint} if checkpoint.checkpoint else {}),
        **({"id": checkpoint.id} if checkpoint.id else {}),
    }


def parse_checkpoint(body: bytes, now: int) -> Checkpoint:
    """A checkpoint to append; `created_at` is `now` unless given."""
    fields = loads(body)
    step = whole_field(fields.get("step"), "step", 0, INT64_MAX)
    if step is None:
        raise InvalidRequest("step: the global_step is required", param="step")
    artifact = fields.get("checkpoint")
    if artifact not in ("model", "adapter", None):
        raise InvalidRequest("checkpoint: model or adapter is wanted", param="checkpoint")
    label = (
        "Intermediate"
        if fields.get("checkpoint_type") is None
        else _text(fields, "checkpoint_type")
    )
    return Checkpoint(
        step=step,
        path=_text(fields, "path"),
        checkpoint_type=label,
        checkpoint=artifact,
        created_at=_created_at(fields, now),
        id=_own_id(fields),
    )


def decode_checkpoint(fields: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint that a service answered."""
    return Checkpoint(
        step=fields["step"],
        path=fields["path"],
        checkpoint_type=fields["checkpoint_type"],
        checkpoint=fields.get("checkpoint"),
        created_at=parse_time(fields["created_at"], "created_at"),
        id=fields.get("id"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a string is required", param=name)
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidRequest(f"{name}: half of a surrogate pair is not a character", param=name)
    return value


def _metric_value(fields: Mapping[str, Any]) -> int | float | None:
    value = fields["early_stopping_best_metric_value"]
    if value is None or (type(value) in (int, float) and abs(value) <= 1.7976931348623157e308):
        return value if value is None else float(value)
    raise InvalidRequest(
        "early_stopping_best_metric_value: a number or null is wanted",
        param="early_stopping_best_metric_value",
    )


def _created_at(fields: Mapping[str, Any], now: int) -> int:
    if fields.get("created_at") is None:
        return now
    return parse_time(_text(fields, "created_at"), "created_at")


def _own_id(fields: Mapping[str, Any]) -> str | None:
    if fields.get("id") is None:
        return None
    value = _text(fields, "id")
    if not 1 <= len(value) <= 200:
        raise InvalidRequest("id: 1 to 200 characters are wanted", param="id")
    return value


def _invalid(error: msgspec.ValidationError) -> InvalidRequest:
    reason, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`")
    return InvalidRequest(f"{name}: {reason[:1].lower()}{reason[1:]}", param=name or None)


# ---------------------------------------------------------------- summaries and lists


def summary_fields(summary: Summary) -> dict[str, Any]:
    """A summary, as design 3 has it."""
    return {
        "snapshots": {"train": summary.snapshots["train"], "eval": summary.snapshots["eval"]},
        "metrics": {name: msgspec.to_builtins(m) for name, m in summary.metrics.items()},
    }


def decode_summary(fields: Mapping[str, Any]) -> Summary:
    """A summary that a service answered."""
    return msgspec.convert(fields, Summary)


def listing(items: Sequence[Mapping[str, Any]]) -> bytes:
    """The body of every list."""
    return encode({"data": items})
