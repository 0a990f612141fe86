"""Projects, keys and share links: who may open what. All of it is on the first shard.

A key's record gets a second version when it is revoked. What a secret opens is remembered for a
second: a key that one process revoked is refused there at once, and by the others after that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from tunelog.access import ApiKey, Principal, Project, Scope, Share
from tunelog.backends.clickhouse import records
from tunelog.backends.clickhouse.node import quote
from tunelog.backends.clickhouse.owning import Clock
from tunelog.backends.clickhouse.principals import Principals
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.secrets import (
    SHARE,
    UNKNOWN_KEY,
    UNKNOWN_SHARE,
    hash_secret,
    new_key,
    new_signing_key,
)
from tunelog.errors import Conflict, NotFound, Unauthenticated
from tunelog.ids import id_of
from tunelog.portable import IN_USE, KeptKey, KeptShare, Owners

GIVEN, REVOKED = 1, 2
"""Versions of the record of a key or a share link."""


class HeldShare(Struct, frozen=True):
    """A share link, whose it is, and the key that it was made with."""

    share: Share
    project: str
    key_id: str | None


class Signing(Struct, frozen=True):
    """What sessions are signed with."""

    key: bytes


class Moving(Struct, frozen=True):
    """Whether a move into the cluster goes on."""

    goes_on: bool


Body = TypeVar("Body", ApiKey, HeldShare, Moving, Project, Signing)


class ClickHouseKeyring:
    """Who may open which project of the cluster."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._home = shard
        self._clock = clock
        self._principals = Principals()
        self._projects: dict[str, Project] = {}
        self._signing_key: bytes | None = None

    # ------------------------------------------------------------ projects

    def create_project(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        found = next((project for project in self.projects() if project.name == name), None)
        if found is None:
            found = Project(_project_id(name), name, self._clock())
            self._put(Kind.PROJECT, found.id, GIVEN, found)
        return found

    def projects(self) -> Sequence[Project]:
        """Every project, by name."""
        found = [project for _, project in self._all(Kind.PROJECT, Project)]
        return sorted(found, key=lambda project: project.name)

    def _project(self, project_id: str) -> Project:
        if project_id not in self._projects:
            self._projects = {project.id: project for project in self.projects()}
        return self._projects[project_id]

    # ------------------------------------------------------------ keys

    def create_key(self, project: Project, scopes: Sequence[Scope]) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be had again."""
        key, secret = new_key(project, scopes, self._clock())
        self._put(Kind.KEY, _name(secret), GIVEN, key)
        return key, secret

    def keys(self, project: Project | None = None) -> Sequence[ApiKey]:
        """Keys, revoked ones too, oldest first."""
        return [key for _, key in self._keys() if project is None or key.project == project.id]

    def _keys(self) -> list[tuple[str, ApiKey]]:
        """Keys and the names of their records, oldest first."""
        found = self._all(Kind.KEY, ApiKey)
        return sorted(found, key=lambda each: (each[1].created_at, each[1].id))

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key useless from now on, and the share links made with it."""
        for name, key in self._all(Kind.KEY, ApiKey):
            if key.id == key_id:
                now = self._clock()
                for share_name, held in self._all(Kind.SHARE, HeldShare):
                    if held.key_id == key_id:
                        self._revoke_share(share_name, held, now)
                if key.revoked_at is None:
                    key = msgspec.structs.replace(key, revoked_at=now)
                    self._put(Kind.KEY, name, REVOKED, key)
                self._principals.forget()
                return key
        raise NotFound(f"no key {key_id}")

    def authenticate(self, secret: str) -> Principal:
        """Who this secret belongs to."""
        principal = self._principals.get(secret, lambda: self._principal_of(secret))
        if isinstance(principal.key, Share) and principal.key.expires_at <= self._clock():
            raise Unauthenticated(UNKNOWN_SHARE)
        return principal

    def knows(self, secret: str) -> bool:
        """Whether it is remembered whose a secret is, and will be for a while."""
        return self._principals.has(secret, lambda: self._principal_of(secret))

    def _principal_of(self, secret: str) -> Principal:
        if secret.startswith(SHARE):
            held = self._find(Kind.SHARE, HeldShare, _name(secret))
            if held is None or held.share.revoked_at is not None:
                raise Unauthenticated(UNKNOWN_SHARE)
            return Principal(held.share, self._project(held.project))
        return self._key_holder(self._find(Kind.KEY, ApiKey, _name(secret)))

    def principal(self, key_id: str) -> Principal:
        """Who the key of this id belongs to."""

        def find() -> Principal:
            keys = (key for _, key in self._all(Kind.KEY, ApiKey))
            return self._key_holder(next((key for key in keys if key.id == key_id), None))

        return self._principals.get(key_id, find)

    def _key_holder(self, key: ApiKey | None) -> Principal:
        if key is None or key.revoked_at is not None:
            raise Unauthenticated(UNKNOWN_KEY)
        return Principal(key, self._project(key.project))

    def signing_key(self) -> bytes:
        """What sessions are signed with, made when it is first wanted."""
        if self._signing_key is None:
            found = self._find(Kind.SECRET, Signing, "session")
            if found is None:
                first_wins = 2**62 - time.time_ns()
                self._put(Kind.SECRET, "session", first_wins, Signing(new_signing_key()))
                found = self._find(Kind.SECRET, Signing, "session")
            assert found is not None
            self._signing_key = found.key
        return self._signing_key

    # ------------------------------------------------------------ moving

    def owners(self) -> Owners:
        """Every project, key and share link with what is kept of its secret."""
        return Owners(
            signing_key=self.signing_key(),
            projects=tuple(self.projects()),
            keys=tuple(KeptKey(bytes.fromhex(name), key) for name, key in self._keys()),
            shares=tuple(
                KeptShare(bytes.fromhex(name), held.project, held.key_id, held.share)
                for name, held in self._shares()
            ),
        )

    def adopt_owners(self, owners: Owners) -> None:
        """Take these over as they are, and begin or go on a move."""
        going_on = self._is_moved_into() and self.signing_key() == owners.signing_key
        if self.projects() and not going_on:
            raise Conflict(IN_USE)
        self._put(Kind.SECRET, "session", 2**62, Signing(owners.signing_key))
        self._signing_key = owners.signing_key
        self._tell_moving(True)
        for project in owners.projects:
            self._put(Kind.PROJECT, project.id, GIVEN, project)
        for kept in owners.keys:
            version = GIVEN if kept.key.revoked_at is None else REVOKED
            self._put(Kind.KEY, kept.hash.hex(), version, kept.key)
        for each in owners.shares:
            version = GIVEN if each.share.revoked_at is None else REVOKED
            held = HeldShare(each.share, each.project, each.key_id)
            self._put(Kind.SHARE, each.hash.hex(), version, held)
        self._principals.forget()

    def settle(self) -> None:
        """End a move into this cluster, if one goes on."""
        if self._is_moved_into():
            self._tell_moving(False)

    def _is_moved_into(self) -> bool:
        found = self._find(Kind.META, Moving, "moving")
        return found is not None and found.goes_on

    def _tell_moving(self, goes_on: bool) -> None:
        self._put(Kind.META, "moving", time.time_ns(), Moving(goes_on))

    # ------------------------------------------------------------ share links, for the stores

    def add_share(self, project: str, share: Share, token: str, key_id: str | None) -> None:
        """Keep a new share link of a project."""
        self._put(Kind.SHARE, _name(token), GIVEN, HeldShare(share, project, key_id))

    def shares_of(self, project: str) -> list[Share]:
        """A project's share links, newest first."""
        return [held.share for _, held in self._shares() if held.project == project][::-1]

    def _shares(self) -> list[tuple[str, HeldShare]]:
        """Share links and the names of their records, oldest first."""
        found = self._all(Kind.SHARE, HeldShare)
        return sorted(found, key=lambda each: (each[1].share.created_at, each[1].share.id))

    def revoke_share_of(self, project: str, share_id: str) -> Share:
        """Make a share link of a project useless."""
        for name, held in self._all(Kind.SHARE, HeldShare):
            if (held.project, held.share.id) == (project, share_id):
                return self._revoke_share(name, held, self._clock())
        raise NotFound(f"no share {share_id}")

    def _revoke_share(self, name: str, held: HeldShare, now: int) -> Share:
        share = held.share
        if share.revoked_at is None:
            share = msgspec.structs.replace(share, revoked_at=now)
            revoked = HeldShare(share, held.project, held.key_id)
            self._put(Kind.SHARE, name, REVOKED, revoked)
            self._principals.forget()
        return share

    # ------------------------------------------------------------ records

    def _find(self, kind: Kind, body: type[Body], name: str) -> Body | None:
        where = f"kind = {kind:d} AND job = 0 AND id = {quote(name)}"
        found = self._home.records(where)
        return msgspec.json.decode(found[0].body, type=body) if found else None

    def _all(self, kind: Kind, body: type[Body]) -> list[tuple[str, Body]]:
        found = self._home.records(f"kind = {kind:d} AND job = 0")
        return [(each.id, msgspec.json.decode(each.body, type=body)) for each in found]

    def _put(self, kind: Kind, name: str, version: int, body: Any) -> None:
        self._home.keep([Record(kind, 0, name, version, msgspec.json.encode(body))])


def _name(secret: str) -> str:
    return hash_secret(secret).hex()


def _project_id(name: str) -> str:
    """The same for one name in every process, so that two that make it at once make the same."""
    return id_of("proj-", f"{records.number('project', name):016x}{records.number(name):016x}")
