"""Timestamps: ISO 8601 <-> integer nanoseconds since the epoch, never through a float."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tunelog.errors import InvalidRequest

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1)
_FIRST = (datetime.min - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max - _EPOCH) // timedelta(microseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:(?<=\d:\d\d:\d\d)[.,](\d{1,30}))?"
    r"\s*([Zz]|[+\- ]\d{2}:?\d{2}|[+\-]\d{2})?)?",
    re.ASCII,
)


def parse_time(text: str, name: str, *, round_up: bool = False) -> int:
    """Nanoseconds of an ISO 8601 time; without a zone it is UTC, a date alone is its midnight.

    A space stands for the `+` that a hand-written URL left unencoded. Digits below a nanosecond
    are dropped, or carry up with `round_up`, so that an inclusive bound stays exact.

    Raises:
        InvalidRequest: it is no such time; `name` says whose.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise _not_a_time(text, name)
    date, clock, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{clock or '00:00'}") - _EPOCH - _offset(zone)
    except ValueError as error:
        raise _not_a_time(text, name) from error
    digits = (fraction or "").ljust(9, "0")
    carry = 1 if round_up and digits[9:].strip("0") else 0
    return (whole.days * 86_400 + whole.seconds) * _NS + int(digits[:9]) + carry


def format_time(ns: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`, the one form that every published client reads.

    A time before the year 1 or after 9999, which a zone can lead to, is shown as the nearest in it.
    """
    micros = min(max(ns // 1000, _FIRST), _LAST)
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds") + "Z"


def _offset(zone: str | None) -> timedelta:
    """How far a zone is ahead of UTC."""
    if zone is None or zone in "Zz":
        return timedelta(0)
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(zone)
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset


def _not_a_time(text: str, name: str) -> InvalidRequest:
    shown = text if len(text) <= 60 else text[:57] + "…"
    return InvalidRequest(
        f"{name}: {shown!r} is not an ISO 8601 date or time such as 2026-01-31T12:00:00Z",
        param=name,
    )
