"""Projects, keys and share links: who may open what in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

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
from tunelog.backends.sqlite.database import Database
from tunelog.errors import Conflict, NotFound, Unauthenticated
from tunelog.ids import new_id
from tunelog.portable import IN_USE, KeptKey, KeptShare, Owners

Clock = Callable[[], int]

_KEY = "k.id, k.project, k.scopes, k.hint, k.created_at, k.revoked_at"
_SHARE = "s.id, s.jobs, s.created_at, s.expires_at, s.name, s.revoked_at"
_PROJECT = "p.id, p.name, p.created_at"
_MOVING = "FROM secret WHERE name = 'moving'"


class SqliteKeyring:
    """Who may open which project of the file."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create_project(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        made = Project(new_id("proj-"), name, self._clock())

        def create(connection: sqlite3.Connection) -> Project:
            connection.execute(
                "INSERT OR IGNORE INTO project VALUES (?, ?, ?)", msgspec.structs.astuple(made)
            )
            row = connection.execute(
                "SELECT id, name, created_at FROM project WHERE name = ?", (name,)
            ).fetchone()
            return Project(*row)

        return self._database.write(create)

    def projects(self) -> Sequence[Project]:
        """Every project, by name."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id, name, created_at FROM project ORDER BY name")
            return [Project(*row) for row in rows]

    def create_key(self, project: Project, scopes: Sequence[Scope]) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be had again."""
        key, secret = new_key(project, scopes, self._clock())
        self._database.write(lambda c: _put_key(c, hash_secret(secret), key))
        return key, secret

    def keys(self, project: Project | None = None) -> Sequence[ApiKey]:
        """Keys, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_KEY} FROM api_key k ORDER BY created_at, id")
            keys = [_key(row) for row in rows]
        return [key for key in keys if project is None or key.project == project.id]

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key useless from now on, and the share links made with it."""

        def revoke(connection: sqlite3.Connection) -> ApiKey:
            now = self._clock()
            for table, column in (("api_key", "id"), ("share", "key")):
                connection.execute(
                    f"UPDATE {table} SET revoked_at = ? WHERE {column} = ? AND revoked_at IS NULL",
                    (now, key_id),
                )
            row = connection.execute(
                f"SELECT {_KEY} FROM api_key k WHERE id = ?", (key_id,)
            ).fetchone()
            if row is None:
                raise NotFound(f"no key {key_id}")
            return _key(row)

        return self._database.write(revoke)

    def authenticate(self, secret: str) -> Principal:
        """Who this secret belongs to."""
        if secret.startswith(SHARE):
            return self._share_holder(secret)
        return self._key_holder("k.hash = ?", hash_secret(secret))

    def knows(self, secret: str) -> bool:
        """Whether a secret is looked up without having to wait."""
        return True

    def principal(self, key_id: str) -> Principal:
        """Who the key of this id belongs to."""
        return self._key_holder("k.id = ?", key_id)

    def _key_holder(self, condition: str, value: str | bytes) -> Principal:
        row = self._database.row(
            f"SELECT {_PROJECT}, {_KEY} FROM api_key k JOIN project p ON p.id = k.project"
            f" WHERE {condition} AND k.revoked_at IS NULL LIMIT 1",
            (value,),
        )
        if row is None:
            raise Unauthenticated(UNKNOWN_KEY)
        return Principal(_key(row[3:]), Project(*row[:3]))

    def _share_holder(self, token: str) -> Principal:
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT {_PROJECT}, {_SHARE} FROM share s JOIN project p ON p.id = s.project"
                " WHERE s.hash = ? AND s.revoked_at IS NULL AND s.expires_at > ?",
                (hash_secret(token), self._clock()),
            ).fetchone()
        if row is None:
            raise Unauthenticated(UNKNOWN_SHARE)
        return Principal(_share(row[3:]), Project(*row[:3]))

    def signing_key(self) -> bytes:
        """What sessions are signed with, made when it is first wanted."""
        with self._database.read() as connection:
            if found := _signing_key(connection):
                return found
        made = new_signing_key()

        def keep(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO secret VALUES ('session', ?)", (made,))
            return _signing_key(connection) or made  # another process may have been first

        return self._database.write(keep)

    # ------------------------------------------------------------ moving

    def owners(self) -> Owners:
        """Every project, key and share link with what is kept of its secret."""
        signing_key = self.signing_key()
        with self._database.read() as connection:
            projects = connection.execute(f"SELECT {_PROJECT} FROM project p ORDER BY name")
            keys = connection.execute(
                f"SELECT k.hash, {_KEY} FROM api_key k ORDER BY created_at, id"
            )
            shares = connection.execute(
                f"SELECT s.hash, s.project, s.key, {_SHARE} FROM share s ORDER BY created_at, id"
            )
            return Owners(
                signing_key=signing_key,
                projects=tuple(Project(*row) for row in projects),
                keys=tuple(KeptKey(secret, _key(row)) for secret, *row in keys),
                shares=tuple(
                    KeptShare(token, project, key, _share(row))
                    for token, project, key, *row in shares
                ),
            )

    def adopt_owners(self, owners: Owners) -> None:
        """Take these over as they are, and begin or go on a move."""

        def adopt(connection: sqlite3.Connection) -> None:
            (used,) = connection.execute("SELECT EXISTS (SELECT 1 FROM project)").fetchone()
            if used and not (
                connection.execute(f"SELECT 1 {_MOVING}").fetchone()
                and _signing_key(connection) == owners.signing_key
            ):
                raise Conflict(IN_USE)
            connection.executemany(
                "INSERT OR REPLACE INTO secret VALUES (?, ?)",
                [("session", owners.signing_key), ("moving", b"")],
            )
            _adopt(connection, owners)

        self._database.write(adopt)

    def settle(self) -> None:
        """End a move into this file."""
        with self._database.read() as connection:
            moving = connection.execute(f"SELECT 1 {_MOVING}").fetchone()
        if moving:
            self._database.write(lambda c: c.execute(f"DELETE {_MOVING}"))


def _adopt(connection: sqlite3.Connection, owners: Owners) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO project VALUES (?, ?, ?)",
        map(msgspec.structs.astuple, owners.projects),
    )
    for kept in owners.keys:
        _put_key(connection, kept.hash, kept.key)
    for each in owners.shares:
        _put_share(connection, each)


def _signing_key(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT value FROM secret WHERE name = 'session'").fetchone()
    return None if row is None else bytes(row[0])


def _put_key(connection: sqlite3.Connection, secret_hash: bytes, key: ApiKey) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO api_key VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            secret_hash,
            key.id,
            key.project,
            ",".join(key.scopes),
            key.hint,
            key.created_at,
            key.revoked_at,
        ),
    )


def _key(row: Sequence[Any]) -> ApiKey:
    key_id, project, scopes, hint, created_at, revoked_at = row
    return ApiKey(
        id=key_id,
        project=project,
        scopes=tuple(scopes.split(",")),
        hint=hint,
        created_at=created_at,
        revoked_at=revoked_at,
    )


# ---------------------------------------------------------------- share links


def add_share(
    connection: sqlite3.Connection, project: str, share: Share, token: str, key_id: str | None
) -> None:
    """Keep a new share link of a project."""
    _put_share(connection, KeptShare(hash_secret(token), project, key_id, share))


def _put_share(connection: sqlite3.Connection, kept: KeptShare) -> None:
    share = kept.share
    connection.execute(
        "INSERT OR REPLACE INTO share VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            kept.hash,
            share.id,
            kept.project,
            kept.key_id,
            share.name,
            msgspec.json.encode(share.jobs).decode(),
            share.created_at,
            share.expires_at,
            share.revoked_at,
        ),
    )


def shares(connection: sqlite3.Connection, project: str) -> list[Share]:
    """A project's share links, newest first (index share_by_age)."""
    rows = connection.execute(
        f"SELECT {_SHARE} FROM share s WHERE project = ? ORDER BY created_at DESC, id DESC",
        (project,),
    )
    return [_share(row) for row in rows]


def revoke_share(connection: sqlite3.Connection, project: str, share_id: str, now: int) -> Share:
    """Make a share link of a project useless."""
    connection.execute(
        "UPDATE share SET revoked_at = ? WHERE project = ? AND id = ? AND revoked_at IS NULL",
        (now, project, share_id),
    )
    row = connection.execute(
        f"SELECT {_SHARE} FROM share s WHERE project = ? AND id = ?", (project, share_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no share {share_id}")
    return _share(row)


def _share(row: Sequence[Any]) -> Share:
    share_id, jobs, created_at, expires_at, name, revoked_at = row
    return Share(
        id=share_id,
        jobs=msgspec.json.decode(jobs, type=tuple[str, ...]),
        created_at=created_at,
        expires_at=expires_at,
        name=name,
        revoked_at=revoked_at,
    )
