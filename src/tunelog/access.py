"""Who may see what: projects, API keys, share links, and whoever calls with one of these.

Like `model`, frozen types without I/O. Times are integer nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Scope = Literal["read", "write", "admin"]


class Project(Struct, frozen=True):
    """The owner of jobs and API keys."""

    id: str
    name: str
    created_at: int


class ApiKey(Struct, frozen=True, kw_only=True):
    """An API key as far as it is known after it was shown once.

    Attributes:
        id: `key-…`, for listing and revoking.
        project: the project's id.
        scopes: what it may do; admin includes write and read, write does not include read.
        hint: the secret's last four characters, to recognise it by.
        created_at: nanoseconds.
        revoked_at: nanoseconds, or None while it is good.
    """

    id: str
    project: str
    scopes: tuple[Scope, ...]
    hint: str
    created_at: int
    revoked_at: int | None = None


class Share(Struct, frozen=True, kw_only=True):
    """A share link as far as it is known after its token was shown once.

    Attributes:
        id: `sh-…`, for listing and revoking.
        jobs: the ids of the jobs that it lets read, and nothing else.
        name: what it is for, in its maker's words.
        created_at: nanoseconds.
        expires_at: nanoseconds; from then on it is useless.
        revoked_at: nanoseconds, or None if it was not revoked.
    """

    id: str
    jobs: tuple[str, ...]
    created_at: int
    expires_at: int
    name: str | None = None
    revoked_at: int | None = None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What it may do: read."""
        return ("read",)


class Principal(Struct, frozen=True):
    """Who is calling: the key or the share link that they showed, and its project."""

    key: ApiKey | Share
    project: Project

    @property
    def share(self) -> Share | None:
        """The share link, if it is one."""
        return self.key if isinstance(self.key, Share) else None

    def may(self, scope: Scope) -> bool:
        """Whether the key has `scope`; admin includes the others."""
        return scope in self.key.scopes or "admin" in self.key.scopes
