"""Files and disks that a store cannot be kept on: one line or one clear answer, and no harm."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.commands import REFUSED
from tests.disks import as_root, mounted
from tests.exchanges import refused
from tests.serving import COMMAND, PATIENCE, Row, Server, create_job, require
from tunelog.backends.sqlite import SqliteBackend
from tunelog.backends.sqlite.database import migrations

NEWEST = migrations()[-1][0]


def serve(store: str) -> str:
    """The one line of a `tunelog serve` that cannot start."""
    done = subprocess.run(
        [*COMMAND, "serve", "--store", store, "--port", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr.startswith("tunelog: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("tunelog: ").removesuffix("\n")


# ---------------------------------------------------------------- files that are no stores


def a_text(path: Path) -> str:
    path.write_text("Dear diary,\n" * 500)
    return f"{path}: not a SQLite database, so not a store of tunelog's"


def another_database(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")
        connection.execute("INSERT INTO recipe VALUES ('bread')")
        connection.commit()
    return f"{path}: a database, but not a store of tunelog's"


def another_programs_empty_database(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 252006674")
    return f"{path}: a database, but not a store of tunelog's"


def a_newer_store(path: Path) -> str:
    SqliteBackend(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    return f"{path}: written by a newer tunelog (layout {NEWEST + 1}, this one knows {NEWEST})"


@pytest.mark.parametrize(
    "make", [a_text, another_database, another_programs_empty_database, a_newer_store]
)
def test_a_file_that_is_no_store_of_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, make: object
) -> None:
    path = tmp_path / "store.db"
    assert callable(make)
    expected = make(path)
    content = path.read_bytes()
    assert serve(f"sqlite:///{path}") == expected
    assert path.read_bytes() == content


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteBackend(path).close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    content[100:8192] = b"\xff" * 8092
    path.write_bytes(content)
    said = serve(f"sqlite:///{path}")
    assert said == f"the store failed: database disk image is malformed ({path})"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert serve(f"sqlite:///{tmp_path}") == (
        f"{tmp_path}: cannot be opened: unable to open database file"
    )


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "store.db"
    assert serve(f"sqlite:///{path}") == f"{path}: there is no folder {tmp_path}/nowhere"


@pytest.mark.parametrize(
    "url", ["store.db", "sqlite:store.db", "sqlite://store.db", "sqlite:///", "postgres://h/d", " "]
)
def test_a_store_url_that_none_understands_is_refused(url: str) -> None:
    forms = (
        "none of memory:, sqlite:///relative/path.db, sqlite:////absolute/path.db,"
        " clickhouse://user:password@host:8123/database"
    )
    assert serve(url) == f"store {url!r}: {forms}"


# ---------------------------------------------------------------- stores that cannot be written


def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    as_root()
    path = tmp_path / "store.db"
    SqliteBackend(path).close()
    done = subprocess.run(["chattr", "+i", str(path)], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"a file cannot be made immutable here: {done.stderr.strip()}")
    try:
        assert serve(f"sqlite:///{path}") == f"{path}: the store is read-only"
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def test_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        SqliteBackend(disk / "store.db").close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("store.db", "new.db"):
            said = serve(f"sqlite:///{disk / name}")
            assert said == f"{disk / name}: its folder cannot be written: Read-only file system"


def rows(first: int, count: int) -> list[Row]:
    return [
        {"timestamp": step, "train/global_step": step, "train/loss": step + 0.5}
        for step in range(first, first + count)
    ]


def test_on_a_full_disk_writes_are_refused_whole_and_reads_go_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=5m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 3_000_000)
        with Server(disk) as server, server.client() as api:
            path = f"/v1/fine-tunes/{create_job(api).id}/metrics"
            kept = posted_until_refused(api, path, disk)
            full = f"the store's disk is full; nothing of this was stored ({disk}/tunelog.db)"
            for _ in range(3):
                answer = api.post(path, json={"metrics": rows(len(kept), 1000)})
                refused(answer, 503, full)
                assert answer.headers["retry-after"] == "1"
                assert api.get(path).json() == {"metrics": kept}
            refused(api.post("/v1/fine-tunes", json={"model": "m" * 100_000}), 503, full)
            assert api.get("/readyz").json() == {"status": "ready"}

            ballast.unlink()
            for first in (len(kept), len(kept) + 1000):
                answer = api.post(path, json={"metrics": rows(first, 1000), "first_seq": first})
                assert answer.json()["stored"] == 1000
            kept = rows(0, len(kept) + 2000)
            assert api.get(path).json() == {"metrics": kept}
            assert "Traceback" not in "\n".join(server.log)
            server.kill()
            server.start()
            assert api.get(path).json() == {"metrics": kept}


@pytest.mark.parametrize("name", ["store.db", "new.db"])
def test_a_start_on_a_full_disk_says_that_it_is_full(tmp_path: Path, name: str) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        SqliteBackend(disk / "store.db").close()
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        said = serve(f"sqlite:///{disk / name}")
        assert "full" in said or "No space left" in said


def posted_until_refused(api: httpx2.Client, path: str, disk: Path) -> list[Row]:
    """The rows that were acknowledged before the disk was full."""
    for first in range(0, 100_000, 1000):
        batch = rows(first, 1000)
        answer = api.post(path, json={"metrics": batch, "first_seq": first})
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            return rows(0, first)
    raise AssertionError(f"{disk} was never full: {os.statvfs(disk)}")
