"""One ClickHouse server, spoken to over its HTTP interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Final

from tunelog.backends.clickhouse.connections import Connections

SELECT_SECONDS: Final = 60.0
INSERT_SECONDS: Final = 5.0
INSERT_BYTES_A_SECOND: Final = 4_000_000

CHUNK: Final = 1 << 18
"""So many bytes of a streamed answer are taken at once."""

QUERY_BYTES: Final = 1 << 18
"""A statement may be so long unless one says that it is longer."""

ASYNC_INSERT: Final = (21, 11)
"""From this version on, a server may gather what several insert, and the newest do if not told
otherwise; then a retry of what was gathered is no repeat of a block any more."""

_CODE = re.compile(r"Code: (\d+)")

Setting = str | int | float


class NodeError(Exception):
    """The server refused a statement."""

    def __init__(self, node: Node, code: int, text: str) -> None:
        """`code` is ClickHouse's number for the error, 0 if it said none."""
        super().__init__(f"{node.name}: {text}")
        self.code = code
        self.text = text


class NodeDown(Exception):  # noqa: N818 - named for what is the case
    """The server cannot be reached, or was lost before it answered."""

    def __init__(self, node: Node, why: str) -> None:
        super().__init__(f"{node.name}: {why}")


class Node:
    """One server and a pool of connections to it; may be used from any thread."""

    def __init__(self, origin: str, user: str, password: str, database: str) -> None:
        """`origin` is `http://host:port`; every statement runs in `database`."""
        self.name = origin.partition("://")[2]
        self.database = database
        self._version: tuple[int, int] | None = None
        self._connections = Connections(
            origin, {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        )

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, as (26, 9). Raises what `query` raises."""
        if self._version is None:
            first, second, *_ = self.query("SELECT version()", database="").decode().split(".")
            self._version = int(first), int(second)
        return self._version

    def query(
        self,
        sql: str,
        *,
        database: str | None = None,
        seconds: float = SELECT_SECONDS,
        **settings: Setting,
    ) -> bytes:
        """A statement's whole answer; an error that comes late is raised all the same."""
        body = sql.encode()
        parameters = self._parameters(database, {"wait_end_of_query": 1, **_size(body), **settings})
        return self._post(parameters, body, seconds)

    @contextmanager
    def stream(self, sql: str, **settings: Setting) -> Iterator[Iterator[bytes]]:
        """A statement's answer as it comes. Count: it may end in the text of an error."""
        body = sql.encode()
        parameters = self._parameters(None, {**_size(body), **settings})
        with ExitStack() as open_until_read:
            with self._plainly():
                answer = self._connections.post(parameters, body, SELECT_SECONDS)
                response = open_until_read.enter_context(answer)
                if response.status != 200:
                    raise self._error(response.read())
            yield self._chunks(response)

    def _chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        with self._plainly():
            while chunk := response.read(CHUNK):
                yield chunk

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except (OSError, HTTPException) as error:
            raise NodeDown(self, str(error) or type(error).__name__) from None

    def insert(self, sql: str, body: bytes, **settings: Setting) -> None:
        """Run `INSERT INTO … FORMAT RowBinary` with its data, as a block of its own."""
        if self.version >= ASYNC_INSERT:
            settings = {"async_insert": 0, **settings}
        parameters = self._parameters(None, {"query": sql, **settings})
        self._post(parameters, body, INSERT_SECONDS + len(body) / INSERT_BYTES_A_SECOND)

    def ping(self) -> None:
        """Have the server say that it is there; raises `NodeDown`."""
        with self._plainly():
            self._connections.ping()

    def local_address(self) -> str:
        """The address of this machine's by which the server is reached; raises `NodeDown`."""
        with self._plainly():
            return self._connections.local_address()

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()

    def _parameters(self, database: str | None, settings: dict[str, Setting]) -> dict[str, Setting]:
        name = self.database if database is None else database
        return {"database": name, **settings} if name else settings

    def _post(self, parameters: dict[str, Setting], content: bytes, seconds: float) -> bytes:
        with self._plainly(), self._connections.post(parameters, content, seconds) as response:
            answer = response.read()
        if response.status != 200:
            raise self._error(answer)
        return answer

    def _error(self, body: bytes) -> NodeError:
        text = body.decode(errors="replace").strip()
        found = _CODE.search(text)
        return NodeError(self, int(found[1]) if found else 0, _short(text))


def _size(statement: bytes) -> dict[str, Setting]:
    """What a statement that is longer than usual says of its length."""
    size = len(statement)
    return {"max_query_size": size + 1} if size >= QUERY_BYTES else {}


def _short(text: str) -> str:
    """An error's first line without its stack trace and version."""
    line = text.partition("\n")[0].partition(", Stack trace")[0]
    return re.sub(r"\s*\(version [^)]*\)+\s*$", "", line)[:500]


def quote(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
