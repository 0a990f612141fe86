"""ClickHouse's HTTP interface over chDB, the engine of today's ClickHouse as a Python package.

    .chdb/bin/python tests/clickhouse/chdb_server.py PORT FOLDER

Run by the Python that has chDB, and nothing else. One engine, one query at a time, each answer made
in full before it is sent: it shows what today's ClickHouse makes of our SQL, formats and settings,
nothing about speed or replication.
"""

from __future__ import annotations

import base64
import gzip
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import chdb

INSERT = re.compile(r"\s*(INSERT\s+INTO\b.*?)\bFORMAT\s+(\w+)\s*", re.IGNORECASE | re.DOTALL)
# Parameters of the interface itself; every other is a setting.
NO_SETTINGS = {"query", "database", "user", "password", "query_id", "wait_end_of_query", "compress"}
STATUS = {
    60: HTTPStatus.NOT_FOUND,  # unknown table
    81: HTTPStatus.NOT_FOUND,  # unknown database
    516: HTTPStatus.FORBIDDEN,  # authentication failed
}


class EngineError(Exception):
    """What the engine says instead of an answer: `Code: 60. DB::Exception: …`."""

    def __init__(self, words: str) -> None:
        super().__init__(words[words.find("Code: ") :])
        code = re.match(r"Code: (\d+)", str(self))
        self.code = int(code[1]) if code else 1002


class Engine:
    """chDB on the data in a folder."""

    def __init__(self, folder: str) -> None:
        self._connection = chdb.connect(folder)
        self._turn = threading.Lock()

    def answer(self, sql: str, database: str, settings: dict[str, str]) -> bytes:
        """What a statement answers."""
        with self._prepared(database, settings):
            result = self._connection.query(sql, "TabSeparated")
            return bytes(result.bytes()) if result is not None else b""

    def insert(
        self, sql: str, form: str, data: bytes, database: str, settings: dict[str, str]
    ) -> None:
        """Insert data of a format; `sql` ends before the word FORMAT."""
        with (
            self._prepared(database, settings),
            self._connection.send_insert(sql, form) as inserter,
        ):
            inserter.append(data)
            inserter.finish()

    @contextmanager
    def _prepared(self, database: str, settings: dict[str, str]) -> Iterator[None]:
        """The engine for one statement, on a database, with settings that end with it."""
        with self._turn:
            try:
                self._connection.query(f"USE `{database}`")
                for name, value in settings.items():
                    self._connection.query(f"SET {name} = {literal(value)}")
                yield
            except Exception as error:
                raise EngineError(str(error)) from None
            finally:
                for name in settings:
                    self._connection.query(f"SET {name} = DEFAULT")


def literal(value: str) -> str:
    """A setting's value in SQL."""
    return value if value.isdigit() else "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


class Handler(BaseHTTPRequestHandler):
    """Answers one request after another of a connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body go in one packet, so that the second need not wait for an answer
    engine: Engine

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        data = self._body()
        if address.path == "/ping":
            return self._send(HTTPStatus.OK, b"Ok.\n")
        try:
            self._check_password()
            answer = self._answer(dict(parse_qsl(address.query, keep_blank_values=True)), data)
        except EngineError as error:
            status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            self._send(status, f"{error}\n".encode(), error.code)
        else:
            self._send(HTTPStatus.OK, answer)

    def _answer(self, parameters: dict[str, str], data: bytes) -> bytes:
        settings = {name: parameters[name] for name in parameters.keys() - NO_SETTINGS}
        database = parameters.get("database", "default")
        sql = parameters.get("query", "")
        insert = INSERT.fullmatch(sql)
        if insert:
            self.engine.insert(insert[1], insert[2], data, database, settings)
            return b""
        return self.engine.answer(sql + data.decode(), database, settings)

    def _check_password(self) -> None:
        kind, _, secret = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(secret).decode().partition(":")
        if kind != "Basic":
            user = self.headers.get("X-ClickHouse-User", "default")
            password = self.headers.get("X-ClickHouse-Key", "")
        if (user, password) != ("default", ""):
            raise EngineError(f"Code: 516. DB::Exception: {user}: Authentication failed")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _chunks(self) -> Iterator[bytes]:
        while length := int(self.rfile.readline(), 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, status: HTTPStatus, body: bytes, code: int | None = None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name above)
        """Nothing: the tests ask, and they see the answers."""


if __name__ == "__main__":
    port, folder = sys.argv[1:]
    Handler.engine = Engine(folder)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
