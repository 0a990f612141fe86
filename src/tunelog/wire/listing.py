"""Parameters of lists of jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tunelog.errors import InvalidRequest
from tunelog.model import JobQuery, Status

_NAMES = ("name", "search", "status", "limit", "offset")
_STATUSES: tuple[Status, ...] = Status.__args__  # type: ignore[attr-defined]


def parse_job_query(parameters: Iterable[tuple[str, str]]) -> JobQuery:
    """The list that a query string asks for.

    An empty parameter is none, an unknown one ignored, one that is given twice refused.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise InvalidRequest(f"{name}: given more than once", param=name)
        if name in _NAMES:
            given[name] = value
    return JobQuery(
        name=given.get("name") or None,
        search=given.get("search") or None,
        statuses=_statuses(given.get("status", "")),
        limit=_whole(given.get("limit", ""), "limit", 1),
        offset=_whole(given.get("offset", ""), "offset", 0) or 0,
    )


def job_query_parameters(query: JobQuery) -> dict[str, str]:
    """The query string that asks for a list."""
    fields = {
        "name": query.name,
        "search": query.search,
        "status": ",".join(sorted(query.statuses)),
        "limit": None if query.limit is None else str(query.limit),
        "offset": str(query.offset) if query.offset else None,
    }
    return {name: value for name, value in fields.items() if value}


def _statuses(text: str) -> frozenset[Status]:
    words = [word.strip() for word in text.split(",")] if text else []
    for word in words:
        if word not in _STATUSES:
            reason = f"status: {word[:40]!r} is none of {', '.join(_STATUSES)}"
            raise InvalidRequest(reason, param="status")
    return frozenset(cast(Status, word) for word in words)


def _whole(text: str, name: str, least: int) -> int | None:
    if not text:
        return None
    digits = text.isascii() and text.isdigit() and len(text) <= 10
    if not (digits and least <= int(text) < 2**31):
        raise InvalidRequest(f"{name}: a whole number from {least} is wanted", param=name)
    return int(text)
