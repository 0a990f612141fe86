"""A live tail as a client sees it: events, comments, and where to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

UP_TO_DATE = "up to date"


class Told(NamedTuple):
    """An event of a tail; a comment has neither id nor name, only its words."""

    id: str
    event: str
    data: Any

    @property
    def what(self) -> tuple[str, Any]:
        """What happened, wherever it stands."""
        return self.event, self.data


class Tail:
    """What a tail tells, event by event."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[Told]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                assert name not in fields
                fields[name] = value
            elif "" in fields:
                yield Told("", "", fields.pop(""))
            else:
                yield Told(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}
        assert not fields

    def next(self) -> Told:
        return next(iter(self))

    def until_now(self) -> list[Told]:
        """Everything up to the comment that says that it is everything."""
        return self.until(("", UP_TO_DATE))[:-1]

    def until(self, what: tuple[str, Any]) -> list[Told]:
        """Everything up to this."""
        found: list[Told] = []
        for told in self:
            found.append(told)
            if told.what == what:
                return found
        raise AssertionError(f"the tail ended before {what}: {found}")


@contextmanager
def tailing(
    api: httpx2.Client, job_id: str, last: str | None = None, **parameters: Any
) -> Iterator[Tail]:
    """A tail of a job; `last` is the id of the last event that was seen."""
    headers = {"Accept": "text/event-stream"}
    if last is not None:
        headers["Last-Event-ID"] = last
    path = f"/v1/fine-tunes/{job_id}/metrics"
    with api.stream("GET", path, params=parameters, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        yield Tail(answer)
