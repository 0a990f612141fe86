"""What tests do while a training runs, and what they look for in its rows."""

from __future__ import annotations

from typing import Any

from tests.integrations.trained import Trainer
from tests.recording import until


def two_processes(trainer: Trainer, script: str, *arguments: str) -> list[str]:
    """The command line of a script that torchrun starts in two processes."""
    python, *words = trainer.command(script, *arguments)
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *words]


def wait_for(trainer: Trainer, job_id: str, snapshots: int = 20) -> None:
    """Returns when a job has so many snapshots."""
    with trainer.server.client() as client:

        def has_them() -> bool:
            answer = client.get(f"/v1/fine-tunes/{job_id}/metrics")
            return answer.status_code == 200 and len(answer.json()["metrics"]) >= snapshots

        until(has_them, "snapshots")


def cancel(trainer: Trainer, job_id: str) -> None:
    """Cancels a job that is well on its way."""
    wait_for(trainer, job_id)
    with trainer.server.client() as client:
        assert client.post(f"/v1/fine-tunes/{job_id}/cancel").status_code == 200


def steps(rows: list[dict[str, Any]], name: str) -> list[int]:
    """The steps of a series."""
    return [row["train/global_step"] for row in rows if name in row]


def errors_told(trainer: Trainer, job_id: str) -> list[str]:
    """What ended the job's attempts, without the service's own word that it ended with an error."""
    told = [found["message"] for found in trainer.events(job_id) if found["type"] == "job_error"]
    return [message for message in told if message != "The job ended with an error."]
