"""Projects, keys and share links of the memory backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from tunelog.access import ApiKey, Principal, Project, Scope, Share
from tunelog.backends.secrets import (
    SHARE,
    UNKNOWN_KEY,
    UNKNOWN_SHARE,
    hash_secret,
    new_key,
    new_signing_key,
)
from tunelog.errors import Conflict, NotFound, Unauthenticated
from tunelog.ids import new_id
from tunelog.portable import IN_USE, KeptKey, KeptShare, Owners

Clock = Callable[[], int]


@dataclass
class _Held:
    """A share link, whose it is, and the key that it was made with."""

    share: Share
    project: str
    key_id: str | None


class MemoryKeyring:
    """Who may open which project, in one process's memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._projects: dict[str, Project] = {}
        self._keys: dict[bytes, ApiKey] = {}
        self._shares: dict[bytes, _Held] = {}
        self._signing_key = new_signing_key()
        self._moving = False

    def create_project(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        with self._lock:
            for project in self._projects.values():
                if project.name == name:
                    return project
            project = Project(new_id("proj-"), name, self._clock())
            self._projects[project.id] = project
            return project

    def projects(self) -> Sequence[Project]:
        """Every project, by name."""
        return sorted(self._projects.values(), key=lambda project: project.name)

    def create_key(self, project: Project, scopes: Sequence[Scope]) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be had again."""
        key, secret = new_key(project, scopes, self._clock())
        self._keys[hash_secret(secret)] = key
        return key, secret

    def keys(self, project: Project | None = None) -> Sequence[ApiKey]:
        """Keys, revoked ones too, oldest first."""
        return [k for k in self._keys.values() if project is None or k.project == project.id]

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key useless from now on, and the share links made with it."""
        with self._lock:
            for secret_hash, key in self._keys.items():
                if key.id == key_id:
                    now = self._clock()
                    for held in self._shares.values():
                        if held.key_id == key_id:
                            _revoke(held, now)
                    if key.revoked_at is None:
                        key = msgspec.structs.replace(key, revoked_at=now)
                        self._keys[secret_hash] = key
                    return key
        raise NotFound(f"no key {key_id}")

    def authenticate(self, secret: str) -> Principal:
        """Who this secret belongs to."""
        if secret.startswith(SHARE):
            held = self._shares.get(hash_secret(secret))
            if (
                held is None
                or held.share.revoked_at is not None
                or held.share.expires_at <= self._clock()
            ):
                raise Unauthenticated(UNKNOWN_SHARE)
            return Principal(held.share, self._projects[held.project])
        return self._principal(self._keys.get(hash_secret(secret)))

    def knows(self, secret: str) -> bool:
        """Whether a secret is looked up without having to wait."""
        return True

    def principal(self, key_id: str) -> Principal:
        """Who the key of this id belongs to."""
        return self._principal(next((k for k in self._keys.values() if k.id == key_id), None))

    def _principal(self, key: ApiKey | None) -> Principal:
        if key is None or key.revoked_at is not None:
            raise Unauthenticated(UNKNOWN_KEY)
        return Principal(key, self._projects[key.project])

    def signing_key(self) -> bytes:
        """What sessions are signed with."""
        return self._signing_key

    # ------------------------------------------------------------ moving

    def owners(self) -> Owners:
        """Every project, key and share link with what is kept of its secret."""
        with self._lock:
            return Owners(
                signing_key=self._signing_key,
                projects=tuple(self.projects()),
                keys=tuple(KeptKey(secret, key) for secret, key in self._keys.items()),
                shares=tuple(
                    KeptShare(token, held.project, held.key_id, held.share)
                    for token, held in self._shares.items()
                ),
            )

    def adopt_owners(self, owners: Owners) -> None:
        """Take these over as they are, and begin or go on a move."""
        with self._lock:
            going_on = self._moving and self._signing_key == owners.signing_key
            if self._projects and not going_on:
                raise Conflict(IN_USE)
            self._moving, self._signing_key = True, owners.signing_key
            self._projects.update((project.id, project) for project in owners.projects)
            self._keys.update((kept.hash, kept.key) for kept in owners.keys)
            for kept in owners.shares:
                self._shares[kept.hash] = _Held(kept.share, kept.project, kept.key_id)

    def settle(self) -> None:
        """End a move into this backend."""
        self._moving = False

    # ------------------------------------------------------------ share links, for the stores

    def add_share(self, project: str, share: Share, token: str, key_id: str | None) -> None:
        """Keep a new share link of a project."""
        self._shares[hash_secret(token)] = _Held(share, project, key_id)

    def shares_of(self, project: str) -> list[Share]:
        """A project's share links, newest first."""
        return [h.share for h in self._shares.values() if h.project == project][::-1]

    def revoke_share_of(self, project: str, share_id: str) -> Share:
        """Make a share link of a project useless."""
        with self._lock:
            for held in self._shares.values():
                if (held.project, held.share.id) == (project, share_id):
                    return _revoke(held, self._clock())
        raise NotFound(f"no share {share_id}")


def _revoke(held: _Held, now: int) -> Share:
    if held.share.revoked_at is None:
        held.share = msgspec.structs.replace(held.share, revoked_at=now)
    return held.share
