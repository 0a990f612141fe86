"""One SQLite file: its identity, its migrations, one writing thread, many readers.

Writing: every change is a function that the writing thread runs in a transaction. Changes that
wait together share one transaction and so one fsync (group commit); each is in a savepoint of its
own, so that a refused one takes nothing with it. WAL and `synchronous=FULL`: when `write` returns,
the change is on stable storage.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from tunelog.errors import StoreUnavailable, StoreUnusable

APPLICATION_ID = 0x746C6F67
"""`tlog`: says in the file's header that it is ours (PRAGMA application_id)."""

_GROUP = 256
_REST = 0.05
"""Seconds without a change after which it is time to tidy."""

_BUSY_COMMITS = 256
"""After so many commits without a rest there is a step of tidying all the same."""

_SOME_PAGES, _ALL_PAGES, _LAST_PAGES = 64, 1 << 20, 1 << 13
"""So many free pages are cut off at once: between commits, at the end if there are many, or few."""

_PAGE_SIZE = 8192
_BUSY_SECONDS = 10.0
_TURN, _LOOK_AGAIN = 0.002, 0.0005
"""Seconds that the file is left to another process that writes, too; and between two tries."""

Result = TypeVar("Result")
Change = Callable[[sqlite3.Connection], Result]


class Database:
    """An open store file."""

    def __init__(self, path: Path) -> None:
        """Open, and create or migrate as needed.

        Raises:
            StoreUnusable: no such folder, not a store of ours, of a newer version, or read-only.
        """
        self.path = path
        self._idle: Callable[[sqlite3.Connection], bool] = lambda connection: False
        self._forget: Callable[[], None] = lambda: None
        self._version = 0
        self._others_write = False
        self._connection = self._open()
        self._connection.execute("PRAGMA busy_timeout = 0")  # `_begin` waits instead
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._changes: queue.SimpleQueue[tuple[Change[Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._watcher: sqlite3.Connection | None = None
        self._watching = threading.Lock()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="tunelog-sqlite", daemon=True)
        self._thread.start()

    def when_idle(self, tidy: Callable[[sqlite3.Connection], bool]) -> None:
        """Have `tidy` called in a transaction when nothing waits, until it answers False."""
        self._idle = tidy

    def when_uncertain(self, forget: Callable[[], None]) -> None:
        """Have `forget` called after a change was undone, or another process has changed the file.

        It is called on the writing thread, before the next change.
        """
        self._forget = forget

    def write(self, change: Change[Result]) -> Result:
        """Run a change and return its result once it is on stable storage."""
        return self.submit(change).result()

    def submit(self, change: Change[Result]) -> Future[Result]:
        """The same without waiting."""
        future: Future[Result] = Future()
        with self._closing:  # so that no change comes after the end, where nobody would run it
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._changes.put((change, future))
        return future

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction."""
        connection = self._taken()
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")
            self._readers.put(connection)

    def row(self, statement: str, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        """The first row of one statement, which needs no transaction around it."""
        connection = self._taken()
        try:
            found: tuple[Any, ...] | None = connection.execute(statement, parameters).fetchone()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        finally:
            self._readers.put(connection)
        return found

    def version(self) -> int:
        """A number that has changed if any connection, of any process, has changed the file.

        What `PRAGMA data_version` says to one connection that never writes; two readings of it are
        comparable, since it is always the same one.
        """
        with self._watching:
            if self._watcher is None:
                self._watcher = self._reader()
            try:
                (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
        return int(version)

    def close(self) -> None:
        """Finish the changes that wait, then let go of the file."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._changes.put(None)
        self._thread.join()
        while not self._readers.empty():
            self._readers.get().close()
        if self._watcher is not None:
            self._watcher.close()
        self._connection.close()

    # ------------------------------------------------------------ opening

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise StoreUnusable(f"{self.path}: there is no folder {self.path.parent}")
        connection = None
        try:
            connection = self._connect()
            self._claim(connection)
        except (sqlite3.Error, StoreUnusable) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreUnusable):
                raise
            raise _unusable(error, self.path) from error
        return connection

    def _taken(self) -> sqlite3.Connection:
        """A reader's connection, to be put back."""
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return self._reader()

    def _reader(self) -> sqlite3.Connection:
        try:
            connection = self._connect()
            connection.execute("PRAGMA query_only = 1")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=_BUSY_SECONDS,
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -2048")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is ours and of this version, creating what is missing."""
        owner, objects = connection.execute(
            "SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id"
        ).fetchone()
        if owner != APPLICATION_ID:
            if owner or objects:
                raise StoreUnusable(f"{self.path}: a database, but not a store of tunelog's")
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if owner != APPLICATION_ID:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(connection, self.path)
        connection.execute("DELETE FROM garbage WHERE FALSE")  # refused if the file is read-only
        connection.execute("COMMIT")

    # ------------------------------------------------------------ the writing thread

    def _work(self) -> None:
        running, untidy = True, 1  # commits since all was tidy; and the start
        patience: float | None = _REST
        while running:
            group, running = self._next_group(patience)
            if group:
                self._commit(group)
                untidy += 1
            patience = _REST
            if running and (not group or untidy % _BUSY_COMMITS == 0):
                more = self._tidy()
                untidy = untidy + 1 if more else 0
                patience = 0 if more else None
        with suppress(sqlite3.Error):
            self._give_back(_ALL_PAGES)
            self._cut_off(_LAST_PAGES)

    def _next_group(
        self, patience: float | None
    ) -> tuple[list[tuple[Change[Any], Future[Any]]], bool]:
        """The change that waits longest, and whether more may come; none if none came in time."""
        try:
            item = self._changes.get(block=patience != 0, timeout=patience)
        except queue.Empty:
            return [], True
        return ([], False) if item is None else ([item], True)

    def _join(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        """Add to a group what came while it waited for the file."""
        while len(group) < _GROUP and not self._changes.empty():
            item = self._changes.get()
            if item is None:
                self._changes.put(None)  # the last one stays so
                return
            if item[1].set_running_or_notify_cancel():
                group.append(item)

    def _commit(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        connection = self._connection
        group = [each for each in group if each[1].set_running_or_notify_cancel()]
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            self._begin()
            self._join(group)
            for change, future in group:
                outcomes.append((future, *self._run(connection, change)))
            connection.execute("COMMIT")
        except BaseException as error:  # the thread must go on, and every waiting caller must hear
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._forget()
            reason = translated(error, self.path) if isinstance(error, sqlite3.Error) else error
            outcomes = [(future, None, reason) for _, future in group]
        for future, result, refusal in outcomes:
            if refusal is None:
                future.set_result(result)
            else:
                future.set_exception(refusal)

    def _begin(self) -> None:
        """Begin to write; processes that all write take turns.

        SQLite's own wait sleeps ever longer, and so starves whoever waits beside a process that
        begins anew at once.
        """
        if self._others_write:
            time.sleep(_TURN)
        deadline = time.monotonic() + _BUSY_SECONDS
        while not self._connection.in_transaction:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_AGAIN)
        self._notice_others()

    def _notice_others(self) -> None:
        """What is remembered of the file is not so any more if another process changed it."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        self._others_write = version != self._version
        if self._others_write:
            self._version = version
            self._forget()

    def _run(
        self, connection: sqlite3.Connection, change: Change[Any]
    ) -> tuple[Any, BaseException | None]:
        connection.execute("SAVEPOINT change")
        try:
            result, refusal = change(connection), None
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave the whole transaction up
                raise
            connection.execute("ROLLBACK TO change")
            self._forget()
            result = None
            refusal = translated(error, self.path) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE change")
        return result, refusal

    def _tidy(self) -> bool:
        """One step of what is done while nothing waits; False if there is nothing to do."""
        try:
            self._begin()
            more = self._idle(self._connection)
            self._connection.execute("COMMIT")
            return more or self._give_back(_SOME_PAGES)
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._forget()
            return False

    def _give_back(self, pages: int) -> bool:
        """Cut free pages off the file, if they are many; False if they are not, or it cannot be."""
        free, every = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count")
        )
        if free <= max(_SOME_PAGES, every // 16):
            return False
        self._cut_off(pages)
        (left,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return bool(left < free)

    def _cut_off(self, pages: int) -> None:
        # Only `executescript` takes every step of it; in a transaction of its own.
        self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def migrations() -> list[tuple[int, str]]:
    """Every migration's number and SQL, in order."""
    folder = resources.files(__package__) / "sql"
    files = sorted((f.name, f) for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(int(name[:4]), file.read_text("utf-8")) for name, file in files]


def migrate(
    connection: sqlite3.Connection, path: Path, known: Sequence[tuple[int, str]] | None = None
) -> None:
    """Bring the schema to the newest version `known`, inside the caller's transaction."""
    known = known or migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > known[-1][0]:
        raise StoreUnusable(
            f"{path}: written by a newer tunelog (layout {version}, this one knows {known[-1][0]})"
        )
    for number, script in known:
        if number > version:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def translated(error: sqlite3.Error, path: Path) -> StoreUnavailable | StoreUnusable:
    """The error of ours that a driver's error means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path)):
        return StoreUnavailable(f"the store's disk is full; nothing of this was stored ({path})")
    if _is_busy(error):
        return StoreUnavailable(f"the store is locked by another process ({path})")
    if code == sqlite3.SQLITE_READONLY:
        return StoreUnusable(f"{path}: the store is read-only")
    return StoreUnavailable(f"the store failed: {error} ({path})")


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _has_no_room(path: Path) -> bool:
    """Whether the disk is full: memory that is mapped to a file there fails without saying so."""
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False


def _unusable(error: sqlite3.Error, path: Path) -> StoreUnusable | StoreUnavailable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return StoreUnusable(f"{path}: not a SQLite database, so not a store of tunelog's")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnusable(f"{path}: cannot be opened: {error}")
    return translated(error, path)
