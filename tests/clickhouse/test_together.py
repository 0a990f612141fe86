"""What comes at one time is written as one, each block once, and each is told what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.recording import until
from tests.serving import PATIENCE
from tunelog.backends.clickhouse import together
from tunelog.backends.clickhouse.together import Together
from tunelog.errors import StoreUnavailable


class Table:
    """Takes blocks, each when it may, and keeps what it took.

    Attributes:
        blocks: the bodies that were inserted.
        witnesses: of each, whose row was to show it.
        may: how many more may be inserted.
    """

    def __init__(self, may: int = 1_000_000) -> None:
        self.blocks: list[bytes] = []
        self.witnesses: list[str] = []
        self.may = threading.Semaphore(may)
        self.begun = 0

    def insert(self, body: bytes, witness: str) -> None:
        self.begun += 1
        assert self.may.acquire(timeout=PATIENCE)
        if b"!" in body:
            raise StoreUnavailable("refused")
        self.blocks.append(body)
        self.witnesses.append(witness)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Each that writes has a thread."""
    with ThreadPoolExecutor(16) as made:
        yield made


Write = Callable[..., "Future[float]"]


def writing(table: Table, pool: ThreadPoolExecutor) -> tuple[Together, Write]:
    """A `Together`, and what has a process write to it in a thread of its own."""
    made = Together(table.insert)

    def write(whose: str, body: bytes, *, again: bool = False) -> Future[float]:
        return pool.submit(made.write, whose, body, f"witness of {whose}", again=again)

    return made, write


def under_way(table: Table, write: Write, *, again: bool = False) -> Future[float]:
    """A first block, of one that will come again or not, which is being inserted."""
    first = write("one", b"a", again=again)
    until(lambda: table.begun, "the first block")
    return first


def waiting(made: Together, count: int) -> None:
    """Return when so many blocks wait."""
    until(lambda: len(made._waiting) == count, f"{count} blocks")


def test_what_comes_while_a_block_is_written_is_the_next_one(pool: ThreadPoolExecutor) -> None:
    table = Table(may=0)
    made, write = writing(table, pool)
    first = under_way(table, write)
    rest = [write("two", b"b"), write("three", b"c")]
    waiting(made, 2)
    table.may.release(2)
    for each in (first, *rest):
        each.result(PATIENCE)
    assert [len(block) for block in table.blocks] == [1, 2]
    assert sorted(b"".join(table.blocks)) == sorted(b"abc")
    assert (
        table.witnesses[1] == {b"bc": "witness of three", b"cb": "witness of two"}[table.blocks[1]]
    )


def test_who_said_that_it_would_come_again_is_waited_for(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "GATHER_SECONDS", PATIENCE)
    table = Table(may=0)
    made, write = writing(table, pool)
    under_way(table, write)
    both = [write("one", b"a", again=True), write("two", b"b", again=True)]
    waiting(made, 2)
    table.may.release(100)
    times = [each.result(PATIENCE) for each in both]
    assert times[0] == times[1], "they are told one time"
    early = write("two", b"c", again=True)
    waiting(made, 1)
    assert len(table.blocks) == 2
    write("one", b"d").result(PATIENCE)
    early.result(PATIENCE)
    assert sorted(table.blocks[2]) == sorted(b"cd")


def test_who_comes_too_late_for_a_block_has_waited_enough_at_its_end(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for those who had theirs written in it and will come again."""
    table = Table(may=0)
    made, write = writing(table, pool)
    first = under_way(table, write, again=True)
    monkeypatch.setattr(together, "GATHER_SECONDS", 2 * PATIENCE)
    late = write("two", b"b", again=True)
    waiting(made, 1)
    table.may.release(2)
    first.result(PATIENCE)
    late.result(PATIENCE)
    assert table.blocks == [b"a", b"b"]


def test_who_does_not_come_is_not_waited_for_for_ever(pool: ThreadPoolExecutor) -> None:
    table = Table()
    _, write = writing(table, pool)
    write("one", b"a", again=True).result(PATIENCE)
    write("two", b"b").result(PATIENCE)
    write("two", b"c").result(PATIENCE)
    assert table.blocks == [b"a", b"b", b"c"]


def test_what_fails_is_told_to_all_whose_it_was_and_to_nobody_else(
    pool: ThreadPoolExecutor,
) -> None:
    table = Table(may=0)
    made, write = writing(table, pool)
    first = under_way(table, write)
    failing = [write("two", b"b"), write("three", b"!")]
    waiting(made, 2)
    table.may.release(3)
    first.result(PATIENCE)
    for each in failing:
        with pytest.raises(StoreUnavailable, match="refused"):
            each.result(PATIENCE)
    write("two", b"b").result(PATIENCE)
    assert table.blocks == [b"a", b"b"]


def test_whatever_comes_when_is_written_once_and_in_blocks_of_their_size(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MOST_BYTES", 100)
    monkeypatch.setattr(together, "GATHER_SECONDS", 0.0)
    table = Table()
    made, _ = writing(table, pool)

    def writer(name: int) -> None:
        for number in range(50):
            body = b"<%d-%d>" % (name, number) + b"." * (150 if number == 25 else 0)
            made.write(str(name), body, "", again=number % 3 == 0)

    list(pool.map(writer, range(8)))
    whole = b"".join(table.blocks)
    for name in range(8):
        places = [whole.index(b"<%d-%d>" % (name, number)) for number in range(50)]
        assert places == sorted(places), "each process's in its order"
    assert whole.count(b"<") == 8 * 50
    assert all(len(block) <= 100 or block.count(b"<") == 1 for block in table.blocks)
