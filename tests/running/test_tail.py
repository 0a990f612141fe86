"""The last lines of an output, as words."""

from __future__ import annotations

import time

import pytest

from tunelog.supervise.tail import Tail


def tail_of(*pieces: bytes, lines: int = 3) -> Tail:
    tail = Tail(lines)
    for piece in pieces:
        tail.feed(1, piece)
    return tail


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo"),
        (b"1\n2\n3\n4\n", "2\n3\n4"),
        (b"done\nno newline", "done\nno newline"),
        (b"windows\r\nlines\r\n", "windows\nlines"),
        (b"10%\r50%\r100%\n", "100%"),
        (b"10%\r50%\r", "50%"),
        (b"\n\n   \nwords\n\n", "words"),
        (b"\x1b[31mred\x1b[0m\n\x1b]0;title\x07plain\n", "red\nplain"),
        (b"bell\x07 and tab\there\n", "bell and tab here"),
        (b"\xff\xfe not UTF-8\n", "�� not UTF-8"),
        ("grün\n".encode(), "grün"),
        (b"x" * 1000 + b"\n", "x" * 299 + "…"),
    ],
)
def test_lines_are_as_a_terminal_would_show_them_at_the_end(printed: bytes, words: str) -> None:
    assert tail_of(printed).last() == words
    assert tail_of(*(bytes([byte]) for byte in printed)).last() == words


def test_what_was_told_is_not_told_again_but_is_still_the_last() -> None:
    tail = tail_of(b"1\n2\n")
    assert tail.fresh() == "1\n2"
    assert tail.fresh() == ""
    tail.feed(1, b"3\n")
    assert tail.fresh() == "3"
    assert tail.last() == "1\n2\n3"


def test_a_line_that_goes_on_is_told_when_it_has_changed() -> None:
    tail = tail_of(b"10%")
    assert [tail.fresh(), tail.fresh()] == ["10%", ""]
    tail.feed(1, b"\r20%")
    assert tail.fresh() == "20%"
    tail.feed(1, b"\n")
    assert tail.fresh() == "20%"


def test_streams_do_not_break_into_one_anothers_lines() -> None:
    tail = Tail(5)
    for stream, piece in ((1, b"out"), (2, b"err\n"), (1, b"put\n")):
        tail.feed(stream, piece)
    assert tail.last() == "err\noutput"


def test_no_lines_are_kept_if_none_are_wanted() -> None:
    tail = tail_of(b"1\n2", lines=0)
    assert (tail.fresh(), tail.last()) == ("", "")


def test_however_much_is_printed_little_is_kept() -> None:
    tail = Tail(20)
    begun = time.process_time()
    for _ in range(1000):
        tail.feed(1, b"x" * 65536)
    for _ in range(100):
        tail.feed(1, b"line\n" * 13000)
    for _ in range(20):
        tail.feed(1, b"y" * 5000 + b"\n")
    assert time.process_time() - begun < 10
    assert len(tail.last()) <= 20 * 301
    assert sum(map(len, tail._lines)) <= 20 * 8192
