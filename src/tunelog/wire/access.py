"""Callers and share links in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunelog.access import Principal, Share
from tunelog.errors import InvalidRequest
from tunelog.wire.snapshots import loads, whole_field
from tunelog.wire.times import format_time, parse_time

DAY = 86_400
MOST_SECONDS = 366 * DAY
MOST_JOBS = 100
_LONGEST_NAME = 200


def whoami_fields(principal: Principal) -> dict[str, Any]:
    """Who is calling, in one body that fits the flat and the nested form of `whoami`."""
    project, key = principal.project, principal.key
    nested = {"id": project.id, "name": project.name}
    caller: dict[str, Any]
    if isinstance(key, Share):
        caller = {
            "type": "share",
            "share_id": key.id,
            "jobs": list(key.jobs),
            "expires_at": format_time(key.expires_at),
        }
    else:
        caller = {
            "type": "project_api_key",
            "api_key_id": key.id,
            "api_key": {"id": key.id, "name": f"…{key.hint}"},
        }
    return {
        **caller,
        "organization_id": project.id,
        "organization_name": project.name,
        "project_id": project.id,
        "project_name": project.name,
        "project_slug": project.name,
        "user_id": project.id,
        "organization": nested,
        "project": {**nested, "slug": project.name},
        "scopes": list(key.scopes),
    }


# ---------------------------------------------------------------- share links


class NewShare(NamedTuple):
    """A share link to make: of which jobs, for how many seconds, what for."""

    jobs: tuple[str, ...]
    seconds: int
    name: str | None


def parse_new_share(body: bytes) -> NewShare:
    """The share link that a body asks for; seven days, unless it says otherwise."""
    fields = loads(body)
    jobs = fields.get("jobs")
    if not (
        isinstance(jobs, list)
        and 1 <= len(jobs) <= MOST_JOBS
        and all(isinstance(job_id, str) for job_id in jobs)
    ):
        raise InvalidRequest(f"jobs: 1 to {MOST_JOBS} ids of jobs are wanted", param="jobs")
    seconds = whole_field(fields.get("expires_in"), "expires_in", 1, MOST_SECONDS)
    name = fields.get("name")
    if name is not None and not (isinstance(name, str) and 1 <= len(name) <= _LONGEST_NAME):
        raise InvalidRequest(f"name: 1 to {_LONGEST_NAME} characters are wanted", param="name")
    return NewShare(tuple(jobs), 7 * DAY if seconds is None else seconds, name)


def share_fields(share: Share) -> dict[str, Any]:
    """A share link in a list; never its token."""
    return {
        "id": share.id,
        "name": share.name,
        "jobs": list(share.jobs),
        "created_at": format_time(share.created_at),
        "expires_at": format_time(share.expires_at),
        "revoked_at": None if share.revoked_at is None else format_time(share.revoked_at),
    }


def decode_share(fields: Mapping[str, Any]) -> Share:
    """A share link that a service answered."""
    revoked_at = fields["revoked_at"]
    return Share(
        id=fields["id"],
        jobs=tuple(fields["jobs"]),
        name=fields["name"],
        created_at=parse_time(fields["created_at"], "created_at"),
        expires_at=parse_time(fields["expires_at"], "expires_at"),
        revoked_at=None if revoked_at is None else parse_time(revoked_at, "revoked_at"),
    )
