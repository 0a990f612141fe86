"""Whose a secret is: asked for once, remembered for a second, looked up beside who uses it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.recording import until
from tests.serving import PATIENCE
from tunelog.access import ApiKey, Principal, Project
from tunelog.backends.clickhouse.principals import Principals
from tunelog.errors import StoreUnavailable, TunelogError, Unauthenticated

PROJECT = Project("proj-1", "default", 0)


class Directory:
    """Who there is, and when it is.

    Attributes:
        seconds: the time.
        asked: how often somebody was looked for.
        error: what is raised instead of an answer.
        is_open: lets those that look go on.
    """

    def __init__(self) -> None:
        self.seconds = 100.0
        self.asked = 0
        self.error: TunelogError | None = None
        self.is_open = threading.Event()
        self.is_open.set()

    def find(self) -> Principal:
        self.asked += 1
        asked = self.asked
        assert self.is_open.wait(PATIENCE)
        if self.error:
            raise self.error
        key = ApiKey(
            id=f"key-{asked}", project=PROJECT.id, scopes=("read",), hint="1234", created_at=0
        )
        return Principal(key, PROJECT)


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def principals(directory: Directory) -> Iterator[Principals]:
    principals = Principals(lambda: directory.seconds)
    yield principals
    directory.is_open.set()
    principals.close()


def key(principals: Principals, directory: Directory) -> str:
    return principals.get("secret", directory.find).key.id


def test_who_was_found_is_not_looked_for_again(
    principals: Principals, directory: Directory
) -> None:
    assert not principals.has("secret", directory.find)
    for _ in range(3):
        assert key(principals, directory) == "key-1"
    assert principals.has("secret", directory.find)
    assert directory.asked == 1


def test_those_that_come_at_once_wait_for_one_look(
    principals: Principals, directory: Directory
) -> None:
    directory.is_open.clear()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(key, principals, directory) for _ in range(8)]
        until(lambda: directory.asked, "somebody to look")
        directory.is_open.set()
        assert {each.result() for each in found} == {"key-1"}
    assert directory.asked == 1


def test_who_is_in_use_is_looked_up_beside_those_that_use_it(
    principals: Principals, directory: Directory
) -> None:
    key(principals, directory)
    directory.seconds += 0.7
    directory.is_open.clear()
    for _ in range(3):
        assert key(principals, directory) == "key-1"
        assert principals.has("secret", directory.find)
    until(lambda: directory.asked == 2, "the look beside")
    directory.is_open.set()
    until(lambda: key(principals, directory) == "key-2", "what it found")
    directory.seconds += 0.7
    assert key(principals, directory) == "key-2"


def test_after_a_second_nobody_is_taken_for_who_it_was(
    principals: Principals, directory: Directory
) -> None:
    key(principals, directory)
    directory.seconds += 1.0
    assert not principals.has("secret", directory.find)
    assert key(principals, directory) == "key-2"


def test_a_second_counts_from_before_the_look(principals: Principals, directory: Directory) -> None:
    """What was revoked while the answer was under way may be in use for no longer."""
    directory.is_open.clear()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(key, principals, directory)
        until(lambda: directory.asked, "somebody to look")
        directory.seconds += 1.0
        directory.is_open.set()
        assert found.result() == "key-1"
    assert not principals.has("secret", directory.find)


def test_who_is_revoked_is_refused_as_soon_as_that_is_seen(
    principals: Principals, directory: Directory
) -> None:
    key(principals, directory)
    directory.seconds += 0.7
    directory.error = Unauthenticated("revoked")
    until(lambda: not principals.has("secret", directory.find), "the look beside")
    with pytest.raises(Unauthenticated):
        key(principals, directory)


def test_a_store_that_is_away_is_no_reason_to_refuse_before_the_second_is_over(
    principals: Principals, directory: Directory
) -> None:
    key(principals, directory)
    directory.error = StoreUnavailable("away")
    directory.seconds += 0.7
    assert key(principals, directory) == "key-1"
    until(lambda: directory.asked == 2, "the look beside")
    assert key(principals, directory) == "key-1"
    directory.seconds += 0.3
    with pytest.raises(StoreUnavailable):
        key(principals, directory)


def test_what_was_asked_before_it_was_forgotten_is_not_remembered(
    principals: Principals, directory: Directory
) -> None:
    """Else a key that is revoked meanwhile would be good for another second."""
    directory.is_open.clear()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(key, principals, directory)
        until(lambda: directory.asked, "somebody to look")
        principals.forget()
        directory.is_open.set()
        assert found.result() == "key-1"
    assert not principals.has("secret", directory.find)
