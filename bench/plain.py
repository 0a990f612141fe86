"""The yardsticks for writing: the same rows in a plain SQLite table, the same bytes in a file."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tunelog.model import Snapshot
from tunelog.wire.snapshots import encode_snapshots

PlainRow = tuple[int, int, int, bytes]
"""Job, logged_at, sequence number and line."""

_LINES = 1000


class PlainTable:
    """The yardstick: the rows' text in one SQLite table, by nothing but the driver.

    WAL and `synchronous=FULL`, as the store has it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if it is not there."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS row"
            " (job INTEGER, logged_at INTEGER, seq INTEGER, line BLOB,"
            " PRIMARY KEY (job, logged_at, seq)) WITHOUT ROWID"
        )

    def insert(self, rows: Iterable[PlainRow]) -> float:
        """Commit (job, logged_at, seq, line) together; answer the seconds it took."""
        begun = time.perf_counter()
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO row VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")
        return time.perf_counter() - begun

    def read(self, job: int) -> int:
        """Every line of a job in order, joined a thousand at a time; answers the bytes."""
        cursor = self._connection.execute(
            "SELECT line FROM row WHERE job = ? ORDER BY logged_at, seq", (job,)
        )
        size = 0
        while lines := cursor.fetchmany(_LINES):
            size += len(b",\n".join([line for (line,) in lines]))
        return size

    def close(self) -> None:
        """Put everything into the one file and let go of it."""
        self._connection.close()


class PlainFile:
    """The yardstick: bytes at the end of one file, each time on stable storage before going on."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it if it is not there."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, data: bytes) -> float:
        """Write and fsync; answer the seconds it took."""
        begun = time.perf_counter()
        os.write(self._file, data)
        os.fsync(self._file)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def plain_rows(job: int, first_seq: int, snapshots: Sequence[Snapshot]) -> list[PlainRow]:
    """The rows of a plain table."""
    lines = encode_snapshots(snapshots)
    return [
        (job, snapshot.logged_at, first_seq + i, line)
        for i, (snapshot, (line, _)) in enumerate(zip(snapshots, lines, strict=True))
    ]
