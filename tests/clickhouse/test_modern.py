"""chDB behind HTTP does what its tests take for granted of ClickHouse's own interface."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.clickhouse.asking import QueryError
from tests.clickhouse.modern import Modern
from tests.serving import PATIENCE


@pytest.fixture
def table(modern: Modern) -> str:
    """A new empty table."""
    name = f"default.numbers_{uuid.uuid4().hex}"
    modern.query(f"CREATE TABLE {name} (n UInt64, word String) ENGINE = MergeTree ORDER BY n")
    return name


@pytest.fixture
def client(modern: Modern) -> Iterator[httpx2.Client]:
    base, _, _ = modern.url.partition("/tunelog")
    address = "http://" + base.rpartition("@")[2]
    with httpx2.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        yield client


def test_it_is_of_our_days(modern: Modern) -> None:
    assert int(modern.query("SELECT version()").split(".")[0]) >= 26


def test_rows_go_in_and_come_out_in_any_format(modern: Modern, table: str) -> None:
    row = (7).to_bytes(8, "little") + b"\x02\xff\n"
    modern.query(f"INSERT INTO {table} (n, word) FORMAT RowBinary", data=row)
    modern.query(f"INSERT INTO {table} FORMAT TabSeparated", data=b"8\tacht\n9\tneun\n")
    modern.query(f"INSERT INTO {table} VALUES (10, 'zehn')")
    counted = modern.query(f"SELECT n, length(word) FROM {table} ORDER BY n FORMAT CSV")
    assert counted == "7,2\n8,4\n9,4\n10,4\n"


def test_a_body_may_be_gzip_and_in_chunks(
    modern: Modern, table: str, client: httpx2.Client
) -> None:
    insert = {"query": f"INSERT INTO {table} FORMAT TabSeparated"}
    packed = gzip.compress(b"1\teins\n")
    gzipped = {"Content-Encoding": "gzip"}
    assert client.post("/", params=insert, content=packed, headers=gzipped).status_code == 200
    assert client.post("/", params=insert, content=iter([b"2\tz", b"wei\n"])).status_code == 200
    assert modern.query(f"SELECT word FROM {table} ORDER BY n") == "eins\nzwei\n"


def test_a_setting_holds_for_its_query(modern: Modern) -> None:
    sql = "SELECT getSetting('max_threads')"
    default = modern.query(sql)
    assert modern.query(sql, max_threads="7") == "7\n"
    assert modern.query(sql) == default
    with pytest.raises(QueryError, match=r"^Code: 115\. "):
        modern.query(sql, no_such_setting="7")


def test_a_query_is_about_its_database(modern: Modern) -> None:
    assert modern.query("SELECT currentDatabase()", database="system") == "system\n"
    assert modern.query("SELECT currentDatabase()") == "default\n"
    with pytest.raises(QueryError, match=r"^Code: 81\. "):
        modern.query("SELECT 1", database="nowhere")


def test_an_error_has_its_code_and_stores_nothing(
    modern: Modern, table: str, client: httpx2.Client
) -> None:
    with pytest.raises(QueryError, match=r"^Code: 27\. "):
        modern.query(f"INSERT INTO {table} FORMAT TabSeparated", data=b"1\teins\nzwei\n")
    assert modern.query(f"SELECT count() FROM {table}") == "0\n"
    answer = client.get("/", params={"query": "SELECT * FROM nothing"})
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (404, "60")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic ZGVmYXVsdDp3cm9uZw=="},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "nobody"},
    ],
    ids=["basic", "headers", "user"],
)
def test_a_wrong_password_is_refused(client: httpx2.Client, headers: dict[str, str]) -> None:
    answer = client.get("/", params={"query": "SELECT 1"}, headers=headers)
    assert (answer.status_code, answer.text[:9]) == (403, "Code: 516")


def test_it_comes_back_with_its_data(tmp_path: Path) -> None:
    with Modern(tmp_path) as modern:
        modern.query("CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        modern.query("INSERT INTO kept VALUES (1)")
        modern.kill()
        modern.start()
        assert modern.query("SELECT n FROM kept") == "1\n"
