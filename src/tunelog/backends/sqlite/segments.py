"""Segments: blocks packed into frames, in rows of the table `segment`.

What a segment holds never changes, and its number is never used again, so that what was read of one
may be kept for as long as there is room, whatever happens to the store.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
from zstandard import STRATEGY_LAZY2, ZstdCompressionParameters

from tunelog.backends.sqlite import blocks, frames
from tunelog.backends.sqlite.blocks import Block
from tunelog.backends.sqlite.extremes import Extremes
from tunelog.backends.sqlite.frames import Columns, Frame, Row, Values
from tunelog.model import ROW_SEPARATOR, MetricSummary

Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Gives a connection inside a read transaction."""

QUICKLY, WELL = 1, 2
"""Levels of blocks that are packed: as they come, and for good."""

_ZSTD = {
    QUICKLY: ZstdCompressionParameters.from_level(3, source_size=frames.FRAME_BYTES),
    # As level 9 is for so few bytes, but for matches of six bytes and more: a shorter one, within
    # two numbers mostly, takes more to say than its digits do.
    WELL: ZstdCompressionParameters(
        strategy=STRATEGY_LAZY2,
        window_log=15,
        chain_log=14,
        hash_log=14,
        search_log=5,
        min_match=6,
        target_length=64,
    ),
}

_SEGMENT, _EXTREMES = -1, -2
"""What is kept of a segment, beside its frames, which have numbers from 0."""

_Key = tuple[int, Hashable]
Selected = TypeVar("Selected")

ROWS = 4096
"""The most snapshots of a segment, but for those of one moment."""

COLUMNS = ", ".join(Row._fields)
"""The columns of `snapshot` but the job, as `Row` has them."""

ORDER = "logged_at, attempt, writer, seq"
"""That of reading."""


class Segment:
    """A segment that was read: its frames, and their compressed texts.

    Attributes:
        number: its id.
        data: every frame's text, compressed, with separators between.
    """

    def __init__(self, number: int, stored: tuple[bytes, bytes, bytes]) -> None:
        """Of the columns frames, columns and data."""
        self._frames, self._columns, self.data = stored
        self.number = number

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.data) + 1000 * len(self.frames)

    @cached_property
    def frames(self) -> Sequence[Frame]:
        """Counts and bounds of each frame."""
        return frames.decode_frames(self._frames)

    @cached_property
    def columns(self) -> Sequence[Columns]:
        """Of each frame, what its text does not have."""
        return frames.decode_columns(self._columns)

    @cached_property
    def train_begins(self) -> Sequence[int]:
        """How many train snapshots there are before each frame, and at last how many in all."""
        return list(accumulate((frame.train for frame in self.frames), initial=0))

    @cached_property
    def _offsets(self) -> Sequence[int]:
        return frames.offsets(self.frames)

    def compressed(self, frame: int) -> bytes:
        """A frame's text, compressed."""
        at = self._offsets[frame]
        return self.data[at : at + self.frames[frame].size]

    def text(self, frame: int) -> bytes:
        """A frame's lines, `ROW_SEPARATOR` between two."""
        return frames.text(self.compressed(frame))

    def rows(self, frame: int) -> list[Row]:
        """A frame's rows."""
        return frames.rows(self.columns[frame], self.text(frame))

    def every_row(self) -> list[Row]:
        """All rows, in order."""
        return [row for frame in range(len(self.frames)) for row in self.rows(frame)]


def load(connection: sqlite3.Connection, number: int) -> Segment | None:
    """A segment; None if it is there no more."""
    found = connection.execute(
        "SELECT frames, columns, data FROM segment WHERE id = ?", (number,)
    ).fetchone()
    return None if found is None else Segment(number, found)


def of_block(connection: sqlite3.Connection, number: int) -> Segment:
    """The segment that a block was seen to have in this transaction."""
    segment = load(connection, number)
    assert segment is not None, f"block without its segment {number}"
    return segment


def extremes(connection: sqlite3.Connection, number: int) -> dict[str, Extremes] | None:
    """Each metric's extremes in each frame; None if the segment is there no more."""
    found = connection.execute("SELECT extremes FROM segment WHERE id = ?", (number,)).fetchone()
    return None if found is None else frames.decode_extremes(found[0])


def summary(connection: sqlite3.Connection, number: int) -> Mapping[str, MetricSummary] | None:
    """What each metric amounts to; None if the segment is there no more."""
    found = connection.execute("SELECT summary FROM segment WHERE id = ?", (number,)).fetchone()
    return None if found is None else frames.decode_summary(found[0])


class Source:
    """Where to read: a store, and what was read of its segments lately. For any thread.

    Attributes:
        connect: gives connections to the store.
    """

    def __init__(self, connect: Connect, room: int = 64 << 20) -> None:
        """`room`: the most bytes of memory, about."""
        self.connect = connect
        self._room = room
        self._kept: OrderedDict[_Key, tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._used = 0

    def segment(self, number: int, keep: bool = True) -> Segment | None:
        """A segment; None if there is none of this number any more."""
        found: Segment | None = self._get((number, _SEGMENT))
        if found is not None:
            return found
        with self.connect() as connection:
            return self.segment_by(connection, number, keep)

    def segment_by(
        self, connection: sqlite3.Connection, number: int, keep: bool = True
    ) -> Segment | None:
        """The same, for one who is reading."""
        found: Segment | None = self._get((number, _SEGMENT))
        if found is None:
            found = load(connection, number)
            if found is not None and keep:
                self._put((number, _SEGMENT), found.cost, found)
        return found

    def extremes(self, number: int) -> Mapping[str, Extremes] | None:
        """A segment's extremes; None if there is none of this number any more."""
        found: dict[str, Extremes] | None = self._get((number, _EXTREMES))
        if found is None:
            with self.connect() as connection:
                found = extremes(connection, number)
            if found is not None:
                self._put((number, _EXTREMES), 4000 * len(found), found)
        return found

    def lines(self, segment: Segment, frame: int, places: Sequence[int]) -> list[bytes]:
        """A frame's lines at these places; they are kept, and none that nobody asked for."""
        key = (segment.number, 2 * frame)
        found: dict[int, bytes] = self._get(key) or {}
        if not found.keys() >= set(places):
            lines = segment.text(frame).split(ROW_SEPARATOR)
            found = {**found, **{place: lines[place] for place in places}}
            self._put(key, sum(len(line) + 150 for line in found.values()), found)
        return [found[place] for place in places]

    def rows(self, segment: Segment, frame: int) -> list[Row]:
        """A frame's rows."""
        found: list[Row] | None = self._get((segment.number, 2 * frame + 1))
        if found is None:
            found, held = segment.rows(frame), segment.frames[frame]
            self._put((segment.number, 2 * frame + 1), held.bytes + 400 * held.rows, found)
        return found

    def selected(
        self, segment: Segment, shapes: Hashable, select: Callable[[], Sequence[Selected]]
    ) -> Sequence[Selected]:
        """What `select` chooses of a segment by nothing but shapes."""
        found: Sequence[Selected] | None = self._get((segment.number, shapes))
        if found is None:
            found = select()
            self._put((segment.number, shapes), 300 * len(found), found)
        return found

    def _get(self, key: _Key) -> Any:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def _put(self, key: _Key, cost: int, value: Any) -> None:
        with self._lock:
            self._used += cost - self._kept.pop(key, (0, None))[0]
            self._kept[key] = (cost, value)
            while self._used > self._room:
                _, (freed, _) = self._kept.popitem(last=False)
                self._used -= freed


# ---------------------------------------------------------------- by the writing thread


def store(
    connection: sqlite3.Connection,
    job: int,
    rows: Sequence[Row],
    values: Sequence[Values],
    level: int,
    logged_at_from: int,
) -> None:
    """Make rows, which are in order, a packed block that begins at `logged_at_from`."""
    parts = frames.pack(rows, values, _ZSTD[level])
    stored = connection.execute(
        "INSERT INTO segment (frames, summary, extremes, columns, data) VALUES (?, ?, ?, ?, ?)",
        (
            frames.encode_frames(parts.frames),
            parts.summary,
            parts.extremes,
            parts.columns,
            parts.data,
        ),
    )
    held = parts.frames
    block = Block(
        logged_at_from,
        rows[-1].logged_at,
        sum(frame.train for frame in held),
        sum(frame.eval for frame in held),
        min(frame.step_min for frame in held),
        max(frame.step_max for frame in held),
        min(frame.attempt_min for frame in held),
        max(frame.attempt_max for frame in held),
        min(frame.arrival_min for frame in held),
        max(frame.arrival_max for frame in held),
        sum(frame.bytes for frame in held),
        msgspec.json.encode(frames.shape_counts(held)).decode(),
        stored.lastrowid,
        level,
    )
    blocks.save(connection, job, block)


def rows_of(connection: sqlite3.Connection, job: int, block: Block) -> list[Row]:
    """Every snapshot of a block, in order."""
    if block.segment is not None:
        return of_block(connection, block.segment).every_row()
    found = connection.execute(
        f"SELECT {COLUMNS} FROM snapshot WHERE job = ? AND logged_at BETWEEN ? AND ?"
        f" ORDER BY {ORDER}",
        (job, block.logged_at_from, block.logged_at_max),
    )
    return [Row._make(row) for row in found]


def insert_rows(connection: sqlite3.Connection, job: int, rows: Iterable[Row]) -> None:
    """Store snapshots as rows."""
    connection.executemany(
        f"INSERT INTO snapshot (job, {COLUMNS}) VALUES (?{',?' * len(Row._fields)})",
        [(job, *row) for row in rows],
    )


def remove(connection: sqlite3.Connection, job: int, block: Block) -> None:
    """Remove a block and its snapshots, but for eval snapshots' rows."""
    if block.segment is None:
        connection.execute(
            "DELETE FROM snapshot WHERE job = ? AND logged_at BETWEEN ? AND ? AND is_eval = 0",
            (job, block.logged_at_from, block.logged_at_max),
        )
    else:
        connection.execute("DELETE FROM segment WHERE id = ?", (block.segment,))
    connection.execute(
        "DELETE FROM block WHERE job = ? AND logged_at_from = ?", (job, block.logged_at_from)
    )


def unpack(connection: sqlite3.Connection, job: int, block: Block) -> Block:
    """Make a packed block's snapshots rows again; answer the block as it is then."""
    rows = rows_of(connection, job, block)
    remove(connection, job, block)
    insert_rows(connection, job, (row for row in rows if not row.is_eval))
    block = block._replace(shape_counts=None, segment=None, level=0)
    blocks.save(connection, job, block)
    return block
