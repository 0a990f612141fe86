"""Which job a name stands for: the service knows, and a file here while it is away."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
from msgspec import Struct

from tunelog.errors import NotFound, TunelogError
from tunelog.model import Job
from tunelog.store import Store

Connect = Callable[[], AbstractContextManager[Store]]


class Remembered(Struct, frozen=True):
    """What is known here of a name.

    Attributes:
        job_id: the job that was begun last under it.
        completed: whether that has completed.
        name, url: whose name it is, for people.
    """

    job_id: str
    completed: bool = False
    name: str = ""
    url: str = ""


class Names:
    """A file for each name, in a directory of spools."""

    def __init__(self, folder: str, url: str) -> None:
        """`url` is the service's address: the same name elsewhere is another job."""
        self._folder = folder
        self._url = url

    def of(self, name: str) -> Remembered | None:
        """What is known of a name; None if nothing is, or it cannot be read."""
        try:
            with open(self._path(name), "rb") as file:
                return msgspec.json.decode(file.read(), type=Remembered)
        except (OSError, msgspec.MsgspecError):
            return None

    def keep(self, name: str, job_id: str, *, completed: bool = False) -> None:
        """Remember a name's job. Raises `OSError`."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        path = self._path(name)
        unnamed = f"{path}.{os.getpid()}"
        with open(unnamed, "wb") as file:
            known = Remembered(job_id, completed, name, self._url)
            file.write(msgspec.json.encode(known) + b"\n")
        os.replace(unnamed, path)

    def _path(self, name: str) -> str:
        digest = hashlib.sha256(f"{self._url}\0{name}".encode("utf-8", "replace")).hexdigest()
        return os.path.join(self._folder, f"{digest[:32]}.name.json")


def find_job(connect: Connect, name: str, known: Remembered | None) -> str | None:
    """The id of the job to go on with under a name, None if a new one begins.

    That is the newest job of the name, unless it has completed. A service that is away or does not
    tell costs some seconds at most; then what is `known` here counts, and so it does while the
    service has not heard of it.
    """
    kept = None if known is None or known.completed else known.job_id
    try:
        with connect() as store:
            newest = next(iter(store.jobs(name=name, limit=1)), None)
            if known is not None and (newest is None or newest.id != known.job_id):
                remembered = _job(store, known.job_id)
                if remembered is None:
                    return kept
                newest = newest or remembered
    except TunelogError:
        return kept
    if newest is None or newest.status == "completed":
        return None
    return kept if known is not None and known.job_id == newest.id else newest.id


def is_completed(connect: Connect, job_id: str) -> bool:
    """Whether the service says that a job has completed."""
    try:
        with connect() as store:
            job = _job(store, job_id)
    except TunelogError:
        return False
    return job is not None and job.status == "completed"


def _job(store: Store, job_id: str) -> Job | None:
    try:
        return store.job(job_id)
    except NotFound:
        return None
