"""Today's ClickHouse on this machine: chDB behind ClickHouse's HTTP interface, one node alone.

with Modern(folder) as modern:
    modern.query("SELECT version()")
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from tests.clickhouse.asking import QueryError, ask, url_of
from tests.clickhouse.processes import Group, free_port
from tests.serving import PATIENCE, require

_PYTHON = Path(__file__).parents[2] / ".chdb/bin/python"
_SERVER = Path(__file__).with_name("chdb_server.py")
_NAME = "chdb"


class Modern:
    """chDB on data in a folder; can be killed and started again, on the same port."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs before `start`."""
        self._folder = folder
        self._port = free_port()
        self._processes: Group | None = None
        self._client = httpx2.Client(timeout=PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        require(_PYTHON.exists(), "chDB is not there (scripts/clickhouse)")
        self._processes = Group(self._folder)
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts it, on its data if it was killed; returns when it answers."""
        data = self._folder / "data"
        self._group.start(_NAME, [str(_PYTHON), str(_SERVER), str(self._port), str(data)])
        self._group.wait(_NAME, self._is_well)

    def kill(self) -> None:
        """Ends it without a chance to do anything more."""
        self._group.kill(_NAME)

    def close(self) -> None:
        """Kills everything that runs."""
        self._group.close()
        self._client.close()

    @property
    def url(self) -> str:
        """The store's URL."""
        return self.url_of()

    def url_of(self, user: str = "default", password: str = "", database: str = "tunelog") -> str:
        """The store's URL for another user or database."""
        return url_of([self._port], user, password, database)

    def query(self, sql: str, data: bytes = b"", **settings: str) -> str:
        """What it answers; raises `QueryError` if that is an error."""
        return ask(self._client, self._port, sql, data, **settings)

    @property
    def _group(self) -> Group:
        assert self._processes is not None, "it was never started"
        return self._processes

    def _is_well(self) -> bool:
        try:
            return self.query("SELECT 1") == "1\n"
        except (httpx2.TransportError, QueryError):
            return False
