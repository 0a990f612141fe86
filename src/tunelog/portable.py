"""What a store holds, in the form in which `tunelog move` takes it from one backend to another.

Nothing is worked out anew on the way: ids, times, sequence numbers, hashes, texts and the order of
arrival are taken as they are, so that the other store answers alike and keys go on working.

Arrivals are numbered here as cursors count them: the cursor of an arrival is its digits.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tunelog.access import ApiKey, Project, Share
from tunelog.model import Attempt, Checkpoint, Event, Job, Kind

IN_USE = (
    "the store to move into is in use: it holds what did not come by a move from this one,"
    " or was served since; move into an empty one"
)
"""What `adopt_owners` refuses with."""


class KeptKey(Struct, frozen=True):
    """An API key, and the hash by which its secret is known again."""

    hash: bytes
    key: ApiKey


class KeptShare(Struct, frozen=True):
    """A share link, the hash of its token, whose it is, and the key that it was made with."""

    hash: bytes
    project: str
    key_id: str | None
    share: Share


class Owners(Struct, frozen=True, kw_only=True):
    """Who may see what in a backend.

    Attributes:
        signing_key: what sessions are signed with; also tells stores apart.
        projects: by name.
        keys: oldest first, revoked ones too.
        shares: oldest first, expired and revoked ones too.
    """

    signing_key: bytes
    projects: tuple[Project, ...]
    keys: tuple[KeptKey, ...]
    shares: tuple[KeptShare, ...]


class JobState(Struct, frozen=True, kw_only=True):
    """All of a job but its snapshots, at one moment.

    Attributes:
        job: as it is shown.
        arrival: its newest change.
        status_arrival: the change that set its status.
        attempts: by number.
        superseding: of each attempt that has a first step, the change that last lowered it.
        events, checkpoints: in the order in which they were added.
    """

    job: Job
    arrival: int
    status_arrival: int
    attempts: tuple[Attempt, ...] = ()
    superseding: Mapping[int, int] = {}
    events: tuple[Event, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()

    def begun(self) -> JobState:
        """The job as it is before anything of it has arrived."""
        return JobState(job=self.job, arrival=0, status_arrival=0)


class KeptSnapshot(Struct, frozen=True, gc=False):
    """A snapshot: its identity within its job, its arrival, and its texts.

    Attributes:
        attempt, writer, seq: its identity; numbers that the store gave are taken as they are, too.
        arrival: where it stands in the order in which the job's changes were stored.
        kind, global_step, logged_at: as in its line.
        line: the row as a default read shows it.
        exact: only with non-finite values: the row with these as strings.
    """

    attempt: int
    writer: int
    seq: int
    arrival: int
    kind: Kind
    global_step: int
    logged_at: int
    line: bytes
    exact: bytes | None
