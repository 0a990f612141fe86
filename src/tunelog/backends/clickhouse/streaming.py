"""Answers of statements that give snapshots line by line, handed on as they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Final, TypeVar

import msgspec

from tunelog.backends.clickhouse.node import Node, Setting
from tunelog.backends.clickhouse.shard import Shard
from tunelog.errors import StoreUnavailable, TunelogError

SLOW: Final[dict[str, Setting]] = {"http_send_timeout": 1800}
"""So many seconds the server waits for a client that takes nothing."""

_ERROR = re.compile(rb"Code: \d+.*")

Made = TypeVar("Made")


def begin(
    shard: Shard,
    node: Node,
    sql: str,
    expected: int,
    short: Callable[[], TunelogError],
    make: Callable[[bytes], Made],
) -> Generator[Made]:
    """What `make` makes of the lines of a statement's answer, some whole lines at a time.

    An error that comes late stands in the midst of what was to be lines. So they are counted, and
    of the last one it is looked whether it is one: there never is less than was planned without an
    exception. Closing the iterator ends the statement.

    Args:
        shard: the replicas.
        node: the one that is asked.
        sql: the statement, without its FORMAT; its first column is JSON.
        expected: how many lines there will be.
        short: what is the matter if the server ended well, but gave fewer.
        make: takes lines without the last newline.

    Raises:
        NodeDown, NodeError: nothing came yet, so another replica may be asked.
    """

    def made() -> Generator[Made]:
        seen, last = 0, b""
        with node.stream(f"{sql} FORMAT TabSeparatedRaw", **SLOW) as chunks:
            first = next(chunks, b"")
            yield make(b"")  # not seen by any caller: the statement has begun
            with shard.watched(node):
                for last in _whole_lines(chain([first], chunks)):
                    seen += last.count(b"\n") + 1
                    if seen > expected:
                        raise _broken(node, last)
                    yield make(last)
        if seen and not _is_line(last):
            raise _broken(node, last)
        if seen < expected:
            raise short()

    begun = made()
    next(begun)
    return begun


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        lines, newline, begun = chunk.rpartition(b"\n")
        if newline:
            yield rest + lines
            rest = begun
        else:
            rest += chunk
    if rest:
        yield rest


def _is_line(piece: bytes) -> bool:
    line = piece.rpartition(b"\n")[2].partition(b"\t")[0]
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _broken(node: Node, piece: bytes) -> TunelogError:
    found = _ERROR.search(piece)
    why = found[0].decode(errors="replace")[:500] if found else "its rows changed meanwhile"
    return StoreUnavailable(f"ClickHouse: {node.name} broke off an answer: {why}")
