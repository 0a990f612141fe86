"""The parameters of a read: from a query string, from a JSON body, and back to a query string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunelog.errors import InvalidRequest
from tunelog.model import INT64_MAX, INT64_MIN, SnapshotQuery
from tunelog.wire.snapshots import loads
from tunelog.wire.times import format_time, parse_time

SAMPLINGS = ("uniform", "minmax")
NONFINITES = ("omit", "null", "string")
FILTERS = (
    "global_step_from",
    "global_step_to",
    "logged_at_from",
    "logged_at_to",
    "attempt",
    "keys",
    "after",
)
PARAMETERS = (*FILTERS, "resolution", "sampling", "nonfinite")

_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_CURSOR = re.compile(r"[0-9]{1,18}")


def parse_query(parameters: Iterable[tuple[str, str]], body: bytes = b"") -> SnapshotQuery:
    """A query from the pairs of a query string and, below them, a JSON body.

    Unknown names are ignored and an empty value is none.

    Raises:
        InvalidRequest: a value that is not what its parameter takes, or a repeated parameter.
    """
    given: dict[str, Any] = {}
    if body.strip():
        given = _from_fields({name: v for name, v in loads(body).items() if v != ""})
    seen = set()
    for name, value in parameters:
        if name not in PARAMETERS:
            continue
        if name in seen:
            raise InvalidRequest(f"{name}: given more than once", param=name)
        seen.add(name)
        if value:
            given[name] = _from_text(name, value)
    return build_query(given)


def build_query(given: Mapping[str, Any]) -> SnapshotQuery:
    """A query from parameters that are ints and strings already."""
    fields = dict(given)
    for name, last in (("logged_at_from", False), ("logged_at_to", True)):
        if name in fields:
            ns = parse_time(fields[name], name, round_up=not last)
            fields[name] = min(max(ns, INT64_MIN), INT64_MAX)
    return SnapshotQuery(**fields)


def query_parameters(query: SnapshotQuery) -> dict[str, str]:
    """The query string that asks for `query`; nanoseconds keep all their digits."""
    parameters: dict[str, str] = {}
    for name in PARAMETERS:
        value = getattr(query, name)
        if value is None or value == ():
            continue
        if name in ("logged_at_from", "logged_at_to"):
            parameters[name] = _nanoseconds(value)
        elif name == "keys":
            parameters[name] = ",".join(value)
        else:
            parameters[name] = str(value)
    return parameters


def _nanoseconds(ns: int) -> str:
    return f"{format_time(ns - ns % 1000)[:-1]}{ns % 1000:03d}Z"


def _from_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a JSON object, typed as JSON types them; null is none."""
    return {
        name: _from_json(name, value)
        for name, value in fields.items()
        if name in PARAMETERS and value is not None
    }


def _from_text(name: str, text: str) -> Any:
    if name in ("global_step_from", "global_step_to", "resolution"):
        return _integer(text, name)
    if name == "attempt":
        return text if text == "all" else _attempt(_integer(text, name))
    return _from_word(name, text)


def _from_json(name: str, value: Any) -> Any:
    if name in ("global_step_from", "global_step_to", "resolution"):
        return _whole(value, name)
    if name == "attempt":
        return value if value == "all" else _attempt(_whole(value, name))
    if name == "keys" and isinstance(value, list):
        if not all(isinstance(key, str) for key in value):
            raise InvalidRequest("keys: an array of strings is wanted", param="keys")
        return tuple(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a string is wanted", param=name)
    return _from_word(name, value)


def _from_word(name: str, text: str) -> Any:
    if name == "keys":
        return tuple(key.strip() for key in text.split(",") if key.strip())
    if name == "sampling":
        return _one_of(text, name, SAMPLINGS)
    if name == "nonfinite":
        return _one_of(text, name, NONFINITES)
    if name == "after" and not _CURSOR.fullmatch(text):
        raise InvalidRequest(f"after: {text[:40]!r} is not a cursor of this service", param="after")
    return text


def _integer(text: str, name: str) -> int:
    text = text.strip()
    if not _INTEGER.fullmatch(text):
        raise InvalidRequest(f"{name}: {text[:40]!r} is not an integer", param=name)
    digits = text.partition(".")[0]
    if len(digits.lstrip("+-0")) > 19:
        raise _beyond(name)
    return _bounded(int(digits), name)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise InvalidRequest(f"{name}: an integer is wanted", param=name)
    return _bounded(value, name)


def _bounded(value: int, name: str) -> int:
    if not INT64_MIN <= value <= INT64_MAX:
        raise _beyond(name)
    return value


def _beyond(name: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: beyond int64", param=name)


def _attempt(value: int) -> int:
    if value < 1:
        raise InvalidRequest('attempt: "all" or a number from 1 is wanted', param="attempt")
    return value


def _one_of(text: str, name: str, words: Sequence[str]) -> str:
    if text not in words:
        raise InvalidRequest(f"{name}: {text[:40]!r} is none of {', '.join(words)}", param=name)
    return text


def parse_jobs_query(body: bytes, most: int) -> tuple[list[str], SnapshotQuery]:
    """The jobs and the query of `POST /v1/metrics/query`."""
    fields = loads(body)
    jobs = fields.get("jobs")
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, str) for job in jobs):
        raise InvalidRequest("jobs: an array of job IDs is required", param="jobs")
    if len(jobs) > most:
        raise InvalidRequest(f"jobs: {len(jobs)} IDs, more than the {most} allowed", param="jobs")
    return list(dict.fromkeys(jobs)), build_query(_from_fields(fields))
