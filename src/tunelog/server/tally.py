"""Numbers that one process counts and its siblings can read."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

BYTES = 1 << 18
"""Of a tally's memory: several times what every operation with every status takes."""

Name = tuple[str, ...]


class Tally:
    """Named numbers in memory that may be shared: one process changes them, each may read them.

    The memory holds how many bytes of it are used, then for each number the length of its name, the
    name as JSON, and itself, each on a boundary of eight bytes. A process that takes a dead one's
    place finds its names there, and counts on.
    """

    def __init__(self, memory: memoryview) -> None:
        """`memory` is zero where nothing has been counted."""
        self._bytes = memory
        self._words = memory.cast("Q")
        self._numbers = memory.cast("d")
        self._places: dict[Name, int] = {}

    def add(self, name: Name, by: float = 1.0) -> None:
        """Add to a number, which begins as 0."""
        self._numbers[self._places.get(name) or self._place(name)] += by

    def set(self, name: Name, value: float) -> None:
        """Make a number this one."""
        self._numbers[self._places.get(name) or self._place(name)] = value

    def items(self) -> Iterator[tuple[Name, float]]:
        """Every number, also those that another process has begun meanwhile."""
        for name, place in self._found():
            yield name, self._numbers[place]

    def _place(self, name: Name) -> int:
        self._places = dict(self._found())
        if name not in self._places:
            self._append(name)
        return self._places[name]

    def _append(self, name: Name) -> None:
        text = msgspec.json.encode(name)
        at = self._words[0] or 8
        struct.pack_into(f"=Q{len(text)}s", self._bytes, at, len(text), text)
        at += 8 + _padded(len(text))
        self._words[0] = at + 8  # last, so that readers find it whole
        self._places[name] = at // 8

    def _found(self) -> Iterator[tuple[Name, int]]:
        at, end = 8, self._words[0]
        while at < end:
            length = self._words[at // 8]
            name = msgspec.json.decode(self._bytes[at + 8 : at + 8 + length], type=Name)
            at += 8 + _padded(length)
            yield name, at // 8
            at += 8


def _padded(length: int) -> int:
    return (length + 7) // 8 * 8
