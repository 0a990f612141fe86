"""Endpoints of the catalog: jobs, attempts, events, checkpoints, and who is calling."""

from __future__ import annotations

from starlette.responses import Response

from tunelog.model import Job
from tunelog.server.service import Call
from tunelog.wire import access, catalog
from tunelog.wire.listing import parse_job_query


def whoami(call: Call) -> Response:
    """The key, its project, and what it may do."""
    return _json(access.whoami_fields(call.principal))


def list_jobs(call: Call) -> Response:
    """The project's jobs, newest first."""
    query = parse_job_query(call.request.query_params.multi_items())
    found = call.store.find_jobs(query)
    project = call.principal.project.id
    answer = _list([catalog.listed_job_fields(job, project) for job in found.jobs])
    answer.headers["Tunelog-Matched"] = str(found.matched)
    return answer


def create_job(call: Call) -> Response:
    """Register a job."""
    job_id, details = catalog.parse_new_job(call.body)
    return _job(call, call.store.create_job(details, job_id))


def retrieve_job(call: Call) -> Response:
    """One job with its events."""
    fields = catalog.job_fields(call.store.job(call.job_id), call.principal.project.id)
    events = [catalog.event_fields(event) for event in call.store.events(call.job_id)]
    return _json({**fields, "events": events})


def update_job(call: Call) -> Response:
    """Change a job's status, progress or details."""
    job = call.store.update_job(call.job_id, catalog.parse_job_changes(call.body))
    call.changed()
    return _job(call, job)


def delete_job(call: Call) -> Response:
    """Remove a job and everything of it."""
    call.store.delete_job(call.job_id)
    call.changed()
    return _json({"message": f"job {call.job_id} is deleted"})


def cancel_job(call: Call) -> Response:
    """End a job that has not started, ask a running one to stop."""
    job = call.store.cancel_job(call.job_id)
    call.changed()
    return _job(call, job)


def list_attempts(call: Call) -> Response:
    """The job's attempts by number."""
    return _list([catalog.attempt_fields(a) for a in call.store.attempts(call.job_id)])


def open_attempt(call: Call) -> Response:
    """Open the next attempt."""
    from_step, open_id = catalog.parse_attempt(call.body)
    attempt = call.store.open_attempt(call.job_id, from_step, open_id)
    call.changed()
    return _json({"attempt": attempt.attempt, "from_step": attempt.from_step})


def list_events(call: Call) -> Response:
    """The job's events, oldest first."""
    return _list([catalog.event_fields(event) for event in call.store.events(call.job_id)])


def add_event(call: Call) -> Response:
    """Append an event."""
    event = catalog.parse_event(call.body, call.service.clock())
    event = call.store.add_event(call.job_id, event)
    call.changed()
    return _json(catalog.event_fields(event))


def list_checkpoints(call: Call) -> Response:
    """The job's checkpoints, oldest first."""
    return _list([catalog.checkpoint_fields(c) for c in call.store.checkpoints(call.job_id)])


def add_checkpoint(call: Call) -> Response:
    """Append a checkpoint."""
    checkpoint = catalog.parse_checkpoint(call.body, call.service.clock())
    checkpoint = call.store.add_checkpoint(call.job_id, checkpoint)
    call.changed()
    return _json(catalog.checkpoint_fields(checkpoint))


def _job(call: Call, job: Job) -> Response:
    return _json(catalog.listed_job_fields(job, call.principal.project.id))


def _json(fields: dict[str, object]) -> Response:
    return Response(catalog.encode(fields), media_type="application/json")


def _list(items: list[dict[str, object]]) -> Response:
    return Response(catalog.listing(items), media_type="application/json")
