"""Trainings with real frameworks, each a script run by the Python that has them, and recorded."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.recording import environment
from tests.serving import Server, require

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".trainers/bin/python"
SCRIPTS = Path(__file__).with_name("trainings")
PATIENCE = 240.0
"""Seconds: importing PyTorch and a framework alone takes ten on a busy machine."""


@dataclass(frozen=True)
class Trained:
    """A training that has ended, and what the service has of it.

    Attributes:
        output: what it wrote to standard output.
        errors: what it wrote to standard error.
        exit_code: of the process.
    """

    output: str
    errors: str
    exit_code: int


class Trainer:
    """Runs trainings in a folder, recorded to a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        require(PYTHON.exists(), "PyTorch and the frameworks are not there: scripts/trainers")
        self.server = server
        self.folder = folder
        self.spool = folder / "spool"

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of a training: it finds this checkout, the server, and nothing else."""
        return environment(
            self.spool,
            TUNELOG_OFFLINE="0",
            TUNELOG_URL=self.server.url,
            TUNELOG_API_KEY=self.server.api_key,
            PYTHONPATH=str(ROOT / "src"),
            HOME=str(self.folder),
            HF_HUB_OFFLINE="1",
            TOKENIZERS_PARALLELISM="false",
            OMP_NUM_THREADS="1",
            **more,
        )

    def command(self, script: str, *arguments: str) -> list[str]:
        """The command line of a script in `trainings`."""
        return [str(PYTHON), str(SCRIPTS / script), *arguments]

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """A process in the folder, with pipes for its output."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.variables(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def train(self, script: str, *arguments: str, **variables: str) -> Trained:
        """A training from its begin to its end."""
        with self.start(*self.command(script, *arguments), **variables) as process:
            try:
                output, errors = process.communicate(timeout=PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
            return Trained(output, errors, process.returncode)

    # ------------------------------------------------------------ what the service has

    def jobs(self) -> list[dict[str, Any]]:
        """Every job of the project, newest first."""
        with self.server.client() as client:
            found: list[dict[str, Any]] = client.get("/v1/fine-tunes").json()["data"]
        return sorted(found, key=lambda job: str(job["created_at"]), reverse=True)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job."""
        with self.server.client() as client:
            found: dict[str, Any] = client.get(f"/v1/fine-tunes/{job_id}").json()
        return found

    def rows(self, job_id: str, **query: str) -> list[dict[str, Any]]:
        """The snapshots of a job, non-finite values as words unless `query` says otherwise."""
        return list(self._list(job_id, "metrics", {"nonfinite": "string", **query})["metrics"])

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """The events of a job."""
        return list(self._list(job_id, "events", {})["data"])

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """The checkpoints of a job."""
        return list(self._list(job_id, "checkpoints", {})["data"])

    def _list(self, job_id: str, what: str, query: Mapping[str, str]) -> dict[str, Any]:
        with self.server.client() as client:
            answer: httpx2.Response = client.get(
                f"/v1/fine-tunes/{job_id}/{what}", params=dict(query)
            )
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
        return found
