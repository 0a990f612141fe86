"""Where blocks of others are taken: from who knows the secret, and only what can be a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.serving import PATIENCE
from tunelog.backends.clickhouse.reception import MOST_BYTES, SECRET, Asked, Reception
from tunelog.errors import StoreUnavailable

Taken = list[tuple[Asked, bytes]]

GOOD: dict[str, Any] = {
    "shard": 1,
    "table": "snapshot",
    "whose": "me",
    "witness": "SELECT 1 & 2",
    "again": 1,
}


@pytest.fixture
def taken() -> Taken:
    """What was taken."""
    return []


@pytest.fixture
def api(taken: Taken) -> Iterator[httpx2.Client]:
    """A client that knows the secret."""

    def take(asked: Asked, body: bytes) -> float:
        if body == b"no":
            raise StoreUnavailable("ClickHouse: only one replica has it")
        taken.append((asked, body))
        return 0.25

    reception = Reception("127.0.0.1", "s3cret", take)
    with httpx2.Client(
        base_url=reception.origin, headers={SECRET: "s3cret"}, timeout=PATIENCE, trust_env=False
    ) as client:
        yield client
    reception.close()


def test_a_block_is_taken_and_told_when_to_come_again(api: httpx2.Client, taken: Taken) -> None:
    for body in (b"\x00rows\xff", b"", b"x" * MOST_BYTES):
        answer = api.post("/", params=GOOD, content=body)
        assert (answer.status_code, float(answer.text)) == (200, 0.25)
        asked = Asked(shard=1, table="snapshot", whose="me", witness="SELECT 1 & 2", again=True)
        assert taken.pop() == (asked, body)


def test_one_that_could_not_be_written_says_why(api: httpx2.Client) -> None:
    answer = api.post("/", params=GOOD, content=b"no")
    assert answer.status_code == 503
    assert answer.text == "ClickHouse: only one replica has it"


def test_whoever_asks_learns_that_somebody_is_there(api: httpx2.Client) -> None:
    assert api.get("/ping", headers={SECRET: ""}).status_code == 200


@pytest.mark.parametrize("secret", ["", "s3cre", "s3cret "[:-1] + "x"])
def test_who_does_not_know_the_secret_has_nothing_written(
    secret: str, api: httpx2.Client, taken: Taken
) -> None:
    assert api.post("/", params=GOOD, content=b"a", headers={SECRET: secret}).status_code == 401
    assert taken == []


@pytest.mark.parametrize("wrong", [{"table": "users"}, {"shard": "x"}, {"witness": None}])
def test_what_cannot_be_a_block_is_refused(
    wrong: dict[str, Any], api: httpx2.Client, taken: Taken
) -> None:
    params = {name: value for name, value in {**GOOD, **wrong}.items() if value is not None}
    answer = api.post("/", params=params, content=b"a")
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.text
    assert taken == []


def test_one_that_is_too_large_is_refused(api: httpx2.Client, taken: Taken) -> None:
    answer = api.post("/", params=GOOD, content=b"x" * (MOST_BYTES + 1))
    assert answer.status_code == 413
    assert taken == []
