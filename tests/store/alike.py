"""Whether two backends answer alike, whatever they are asked."""

from __future__ import annotations

from typing import Any

from tests.store.samples import rows
from tunelog.model import SnapshotQuery
from tunelog.store import Backend, MovableStore

QUERIES = (
    SnapshotQuery(),
    SnapshotQuery(attempt="all", nonfinite="string"),
    SnapshotQuery(attempt=1, nonfinite="null"),
    SnapshotQuery(resolution=3),
    SnapshotQuery(resolution=6, sampling="minmax"),
    SnapshotQuery(keys=("train/loss",), global_step_from=2, global_step_to=20),
)


def answers(store: MovableStore, job_id: str) -> dict[str, Any]:
    """Everything that a job can be asked, as text where NaN would differ from itself."""
    readings = [store.read(job_id, query) for query in QUERIES]
    return {
        "job": store.job(job_id),
        "attempts": store.attempts(job_id),
        "events": store.events(job_id),
        "checkpoints": store.checkpoints(job_id),
        "columns": store.columns(job_id),
        "summaries": [repr(store.summarize(job_id, query)) for query in QUERIES],
        "readings": [(r.matched, r.returned, r.cursor, repr(rows(r))) for r in readings],
        "changes": [store.changes(job_id, query, limit=10_000) for query in QUERIES],
        "state": store.state(job_id),
        "stored": list(store.stored(job_id, limit=10_000)),
    }


def every_answer(backend: Backend) -> dict[str, Any]:
    """Everything that a backend can be asked."""
    return {
        project.name: (
            project,
            backend.keys(project),
            backend.store(project).shares(),
            [job.id for job in backend.store(project).jobs()],
            {
                job.id: answers(backend.store(project), job.id)
                for job in backend.store(project).jobs()
            },
        )
        for project in backend.projects()
    }
