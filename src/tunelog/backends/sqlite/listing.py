"""Lists of jobs."""

from __future__ import annotations

import sqlite3

import msgspec
from msgspec import Struct

from tunelog.backends.sqlite.catalog import JOB, entry
from tunelog.model import FoundJobs, JobQuery, is_found


class _Words(Struct):
    """What a search looks at of a job's details."""

    name: str | None = None
    model: str | None = None
    suffix: str | None = None
    tags: tuple[str, ...] = ()


_decode_words = msgspec.json.Decoder(_Words).decode


def find(connection: sqlite3.Connection, project: str, query: JobQuery) -> FoundJobs:
    """The project's jobs that match, newest first (index job_by_age or job_by_name)."""
    where, values = _condition(project, query)
    order = "ORDER BY created_at DESC, no DESC"
    if query.search is None:
        (matched,) = connection.execute(f"SELECT count(*) FROM job {where}", values).fetchone()
        page = (-1 if query.limit is None else query.limit, query.offset)
        rows = connection.execute(
            f"SELECT {JOB} FROM job {where} {order} LIMIT ? OFFSET ?", (*values, *page)
        )
        return FoundJobs(matched, [entry(row).job for row in rows])
    candidates = connection.execute(f"SELECT no, id, details FROM job {where} {order}", values)
    found = _searched(candidates, query.search.casefold())
    end = None if query.limit is None else query.offset + query.limit
    jobs = [entry(_row(connection, no)).job for no in found[query.offset : end]]
    return FoundJobs(len(found), jobs)


def _condition(project: str, query: JobQuery) -> tuple[str, list[str]]:
    where, values = "WHERE project = ?", [project]
    if query.name is not None:
        where += " AND name = ?"
        values.append(query.name)
    if query.statuses:
        where += f" AND status IN ({', '.join('?' * len(query.statuses))})"
        values.extend(query.statuses)
    return where, values


def _searched(candidates: sqlite3.Cursor, needle: str) -> list[int]:
    """The numbers of the jobs that a search finds: SQLite itself folds the case of ASCII alone."""
    found = []
    for no, job_id, details in candidates:
        words = _decode_words(details)
        if is_found(needle, job_id, (words.name, words.model, words.suffix, *words.tags)):
            found.append(no)
    return found


def _row(connection: sqlite3.Connection, no: int) -> tuple[object, ...]:
    row: tuple[object, ...] = connection.execute(
        f"SELECT {JOB} FROM job WHERE no = ?", (no,)
    ).fetchone()
    return row
