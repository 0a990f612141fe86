"""The SQLite file: its identity, its numbered layouts, and that a store of any of them opens."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.store import layouts
from tunelog.backends.sqlite import SqliteBackend
from tunelog.backends.sqlite.database import APPLICATION_ID, migrate, migrations
from tunelog.errors import StoreUnusable

NUMBERS = [number for number, _ in migrations()]
LAYOUTS = sorted(layouts.FOLDER.glob("*.sql"))


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def schema(path: Path) -> list[tuple[Any, ...]]:
    """Every table and index with its SQL."""
    with connected(path) as connection:
        return connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()


def identity(path: Path) -> dict[str, Any]:
    """What the file's header says."""
    names = ("application_id", "user_version", "journal_mode", "page_size")
    with connected(path) as connection:
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A store made now."""
    path = tmp_path / "fresh.db"
    SqliteBackend(path).close()
    return path


def test_migrations_are_numbered_without_a_gap_and_named() -> None:
    folder = resources.files("tunelog.backends.sqlite") / "sql"
    names = sorted(file.name for file in folder.iterdir())
    assert list(range(1, len(names) + 1)) == NUMBERS
    for number, name in zip(NUMBERS, names, strict=True):
        assert re.fullmatch(rf"{number:04d}_[a-z][a-z0-9_]*\.sql", name)


def test_a_new_store_says_whose_it_is_and_of_which_layout(fresh: Path) -> None:
    assert identity(fresh) == {
        "application_id": APPLICATION_ID,
        "user_version": NUMBERS[-1],
        "journal_mode": "wal",
        "page_size": 8192,
    }
    assert fresh.read_bytes()[68:72] == b"tlog"


def test_the_schema_is_exactly_the_numbered_sql(fresh: Path, tmp_path: Path) -> None:
    by_hand = tmp_path / "by-hand.db"
    with connected(by_hand) as connection:
        for _, script in migrations():
            connection.executescript(script)
    assert schema(fresh) == schema(by_hand)


def test_opening_a_store_again_changes_nothing(fresh: Path) -> None:
    before = fresh.read_bytes()
    SqliteBackend(fresh).close()
    assert fresh.read_bytes() == before


def test_a_store_of_every_released_layout_is_kept_for_these_tests() -> None:
    assert [path.stem for path in LAYOUTS] == [f"{number:04d}" for number in NUMBERS]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda path: str(path.stem))
def test_a_store_of_every_released_layout_ends_equal_to_a_new_one(
    layout: Path, fresh: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    layouts.restored(layout, old)
    assert identity(old)["user_version"] == int(layout.stem)
    layouts.fill(new)
    assert layouts.answers(old) == layouts.answers(new)
    assert (schema(old), identity(old)) == (schema(fresh), identity(fresh))
    with connected(old) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=lambda path: str(path.stem))
def test_what_later_layouts_added_is_kept(layout: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    layouts.restored(layout, path)
    with connected(path) as connection:
        (signing_key,) = connection.execute("SELECT value FROM secret").fetchone()
    backend = layouts.opened(path)
    assert backend.signing_key() == signing_key
    principal = backend.authenticate(layouts.TOKEN)
    (share,) = backend.store(principal.project).shares()
    assert principal.share == share
    assert (share.jobs, share.name, share.revoked_at) == (("ft-run",), "for good", None)
    backend.close()


# ---------------------------------------------------------------- the migrating itself

SCRIPTS = [
    (1, "CREATE TABLE one (a);\nINSERT INTO one VALUES (1);\n"),
    (2, "-- a comment; with a semicolon\nALTER TABLE one ADD COLUMN b DEFAULT ';\n';\n"),
    (3, "CREATE TRIGGER t AFTER INSERT ON one BEGIN\n  DELETE FROM one;\nEND;\n"),
]


def migrated(path: Path, known: list[tuple[int, str]]) -> None:
    with connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection, path, known)
        connection.execute("COMMIT")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_only_the_migrations_that_a_store_lacks_are_run(tmp_path: Path, version: int) -> None:
    path, whole = tmp_path / "store.db", tmp_path / "whole.db"
    if version:
        migrated(path, SCRIPTS[:version])
    migrated(path, SCRIPTS)
    migrated(whole, SCRIPTS)
    assert schema(path) == schema(whole)
    assert identity(path)["user_version"] == 3
    with connected(path) as connection:
        assert connection.execute("SELECT * FROM one").fetchall() == [(1, ";\n")]


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    migrated(path, SCRIPTS[:1])
    before = schema(path), identity(path)
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        migrated(path, [*SCRIPTS, (4, "CREATE TABLE four (a);\nDELETE FROM nowhere;\n")])
    assert (schema(path), identity(path)) == before


def test_a_store_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    migrated(path, SCRIPTS)
    with pytest.raises(StoreUnusable) as error:
        migrated(path, SCRIPTS[:2])
    words = "written by a newer tunelog (layout 3, this one knows 2)"
    assert error.value.message == f"{path}: {words}"
