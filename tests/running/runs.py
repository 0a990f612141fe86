"""Real runs: `tunelog run` as a process, its command, and what the server has of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.recording import PATIENCE, environment, until
from tests.serving import COMMAND, Server
from tunelog.backends.remote import RemoteStore
from tunelog.model import Attempt, Job

PYTHON = sys.executable


class Run(NamedTuple):
    """What a run left."""

    code: int
    out: bytes
    err: bytes

    @property
    def job_id(self) -> str:
        """The job that it said it is."""
        return job_said(self.err)


def job_said(err: bytes) -> str:
    (job_id,) = re.findall(rb"(?m)^tunelog: job (ft-\S+): http", err)
    return str(job_id.decode())


def settings(server: Server, spool: Path, **variables: str) -> dict[str, str]:
    own = {"TUNELOG_URL": server.url, "TUNELOG_API_KEY": server.api_key, "TUNELOG_OFFLINE": "0"}
    return environment(spool, **{**own, **variables})


@contextmanager
def begun(
    server: Server, spool: Path, *arguments: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`tunelog run` with these arguments, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "run", *arguments],
        env=settings(server, spool, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run(server: Server, spool: Path, *arguments: str, typed: bytes = b"", **variables: str) -> Run:
    """`tunelog run` from its begin to its end."""
    with begun(server, spool, *arguments, **variables) as process:
        out, err = process.communicate(typed, timeout=PATIENCE)
        return Run(process.returncode, out, err)


def python(script: str) -> Sequence[str]:
    """The arguments that have a script run."""
    return ("--", PYTHON, "-c", script)


# ---------------------------------------------------------------- what the server has


@contextmanager
def store_of(server: Server) -> Iterator[RemoteStore]:
    with closing(RemoteStore(server.url, server.api_key)) as store:
        yield store


def job_of(server: Server, job_id: str) -> Job:
    with store_of(server) as store:
        return store.job(job_id)


def attempts(server: Server, job_id: str) -> list[Attempt]:
    with store_of(server) as store:
        return list(store.attempts(job_id))


def told(server: Server, job_id: str, *types: str) -> list[str]:
    """The messages of a job's events of these types."""
    with store_of(server) as store:
        return [event.message for event in store.events(job_id) if event.type in types]


def sent(spool: Path) -> None:
    """Return when every spool was sent to its end."""
    until(lambda: not list(spool.glob("*.spool*")), "everything to be sent")


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


def left_of_run(spool: Path) -> list[str]:
    """What lies in a spool directory that is no memory of names."""
    return [name for name in os.listdir(spool) if not name.endswith(".name.json")]
