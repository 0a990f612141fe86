"""What schemathesis needs to know to speak every media type of the contract."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import pyarrow.parquet
import schemathesis
from schemathesis import DeserializationContext, HookContext, Response, SerializationContext

MOST_ATTEMPTS = 2**31 - 1
"""The largest attempt that the contract knows."""


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: SerializationContext, value: Any) -> bytes:
    """Rows, one a line; whatever else was generated goes out as it is."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    rows = value if isinstance(value, list) else [[value]]  # what is no list is no row either
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@schemathesis.deserializer("application/vnd.apache.parquet")
def parquet(context: DeserializationContext, response: Response) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(
        io.BytesIO(response.content)
    ).to_pylist()
    return rows


def _opened(context: HookContext, fields: Any) -> Any:
    """Name attempt 1, which needs no opening: no schema can say which later ones are open.

    Numbers that the schema refuses stay: they are there to be refused.
    """
    path = context.operation.path if context.operation else ""
    if path == "/fine-tunes/{id}/metrics" and isinstance(fields, dict):
        attempt = fields.get("attempt")
        if isinstance(attempt, int | float) and attempt in range(2, MOST_ATTEMPTS + 1):
            return {**fields, "attempt": 1}
    return fields


def _of_a_key(context: HookContext, fields: Any) -> Any:
    """Sign in with a key that there is, which no schema can say either."""
    path = context.operation.path if context.operation else ""
    if path == "/session" and isinstance(fields, dict):
        secret = fields.get("api_key")
        if isinstance(secret, str) and secret.strip():
            return {**fields, "api_key": os.environ["TUNELOG_API_KEY"]}
    return fields


def _of_a_job(context: HookContext, fields: Any) -> Any:
    """Share a job that there is."""
    path = context.operation.path if context.operation else ""
    if path == "/shares" and isinstance(fields, dict):
        jobs = fields.get("jobs")
        if isinstance(jobs, list) and jobs and all(isinstance(job, str) for job in jobs):
            return {**fields, "jobs": [os.environ["TUNELOG_JOB_ID"]] * len(jobs)}
    return fields


@schemathesis.hook
def map_query(context: HookContext, query: Any) -> Any:
    """The query string of an append names an attempt that is open."""
    return (
        _opened(context, query)
        if context.operation and context.operation.method == "post"
        else query
    )


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """The body of an append names an attempt that is open, other bodies a key or a job."""
    return _of_a_job(context, _of_a_key(context, _opened(context, body)))
