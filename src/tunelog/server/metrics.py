"""Endpoints of the metrics: read, append, sum up, and many jobs at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from starlette.responses import Response

from tunelog.errors import InvalidRequest, TunelogError
from tunelog.model import Batch, SnapshotQuery
from tunelog.server import answers
from tunelog.server.errors import error_fields
from tunelog.server.parquet import parquet_rows
from tunelog.server.service import Call
from tunelog.wire import catalog
from tunelog.wire.queries import FILTERS, parse_jobs_query, parse_query
from tunelog.wire.snapshots import (
    decode_batch,
    decode_ndjson_batch,
)

SMALL = 1 << 14
"""Bytes of a body that is parsed at once: it takes less than to hand it to a thread."""

NOT_GIVEN: Mapping[str, None] = dict.fromkeys(("attempt", "writer", "first_seq"))
"""What the query string may say of a batch, where it says nothing."""


def get_metrics(call: Call) -> Response:
    """The job's snapshots in the format that the client accepts."""
    query = parse_query(call.request.query_params.multi_items(), call.body)
    media_type = answers.preferred(call.request.headers.get("accept", "*/*"), answers.FORMATS)
    if media_type in (answers.CSV, answers.PARQUET):  # these are always exact
        query = msgspec.structs.replace(query, nonfinite="string")
    reading = call.store.read(call.job_id, query)
    headers = {
        "Tunelog-Matched": str(reading.matched),
        "Tunelog-Returned": str(reading.returned),
        "Tunelog-Cursor": reading.cursor,
    }
    compressed = None
    if media_type == answers.NDJSON:
        chunks = answers.ndjson_rows(reading)
    elif media_type == answers.CSV:
        chunks = answers.csv_rows(reading, call.store.columns(call.job_id, query))
    elif media_type == answers.PARQUET:
        chunks = parquet_rows(reading, call.store.columns(call.job_id, query))
    else:
        media_type, chunks = answers.JSON, answers.json_rows(reading)
        compressed = answers.compressed_json_rows(reading)
    return answers.answer(chunks, media_type, _accept_encoding(call), headers, compressed)


async def append_metrics(call: Call) -> Response:
    """Store a batch; the receipt is sent after it is on stable storage.

    Many trainings log single snapshots at once: they wait together, and hold no thread each.
    """
    if len(call.body) <= SMALL:
        batch = _batch(call)
    else:
        batch = await call.service.in_thread(_batch, call)
    receipt = await call.service.settling.result(call.store.submit(call.job_id, batch))
    call.changed()
    return Response(msgspec.json.encode(receipt), media_type="application/json")


def _batch(call: Call) -> Batch:
    service = call.service
    content_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    decode = decode_ndjson_batch if content_type == answers.NDJSON else decode_batch
    return decode(call.body, _batch_parameters(call), service.limits, service.clock())


def _batch_parameters(call: Call) -> Mapping[str, int | None]:
    """Attempt, writer and first_seq of the query string, where NDJSON has no place for them."""
    if not call.request.scope["query_string"]:
        return NOT_GIVEN
    fields: dict[str, int | None] = {}
    for name in NOT_GIVEN:
        values = call.request.query_params.getlist(name)
        if len(values) > 1:
            raise InvalidRequest(f"{name}: given more than once", param=name)
        text = values[0].strip() if values else ""
        if text and not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise InvalidRequest(f"{name}: {text[:40]!r} is not a whole number", param=name)
        fields[name] = int(text) if text else None
    return fields


def summarize_metrics(call: Call) -> Response:
    """Counts, extremes and ends of every metric."""
    parameters = call.request.query_params.multi_items()
    query = parse_query((name, value) for name, value in parameters if name in FILTERS)
    summary = call.store.summarize(call.job_id, query)
    body = catalog.encode(catalog.summary_fields(summary))
    return answers.answer(iter([body]), answers.JSON, _accept_encoding(call))


def query_metrics(call: Call) -> Response:
    """Many jobs in one answer; a job that cannot be read has its error in its place."""
    return answers.answer(jobs_answer(call), answers.JSON, _accept_encoding(call))


def jobs_answer(call: Call) -> answers.Chunks:
    """The answer's bytes; each job is read when its turn comes."""
    job_ids, query = parse_jobs_query(call.body, call.service.settings.max_query_jobs)
    return answers.many_jobs((job_id, _job_answer(call, job_id, query)) for job_id in job_ids)


def _job_answer(call: Call, job_id: str, query: SnapshotQuery) -> Iterator[bytes]:
    try:
        return answers.told_json_rows(call.store.read(job_id, query))
    except TunelogError as error:
        return iter([catalog.encode(error_fields(error))])


def _accept_encoding(call: Call) -> str:
    return call.request.headers.get("accept-encoding", "")
