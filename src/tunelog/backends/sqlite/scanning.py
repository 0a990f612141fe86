"""Walking through what matches in a stretch of time, whether it is packed or rows.

Each step is in a short transaction of its own, so a slow reader holds none open. Between two steps
rows may be packed or unpacked, but what they say never changes; and the condition leaves out what
arrived after the plan was made. So a walk sees one moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from tunelog.backends.sqlite import blocks, segments
from tunelog.backends.sqlite.blocks import Block
from tunelog.backends.sqlite.filters import Condition
from tunelog.backends.sqlite.frames import Counts, Place, Row
from tunelog.backends.sqlite.planning import Plan, Span
from tunelog.backends.sqlite.segments import ORDER, Segment, Source

PAGE = 2048
"""The most rows that are held at once."""

PAGE_BYTES = 1 << 21
"""About the most bytes of lines that are held at once; one line may be longer."""

Sorted = TypeVar("Sorted", bound=tuple[Any, ...])


class Whole(NamedTuple):
    """Frames that follow each other, of which everything matches: `rows` snapshots.

    `some` says which; None for all of the segment.
    """

    segment: Segment
    rows: int
    some: range | None = None

    @property
    def frames(self) -> range:
        """Which frames."""
        return range(len(self.segment.frames)) if self.some is None else self.some


class Part(NamedTuple):
    """A frame of which something matches.

    `counts` says how much, if that is known without a look inside.
    """

    source: Source
    segment: Segment
    frame: int
    condition: Condition
    counts: Counts | None

    def matching(self) -> list[Row]:
        """What matches, in order."""
        return [
            row for row in self.source.rows(self.segment, self.frame) if self.condition.all(row)
        ]


class Trains(NamedTuple):
    """Frames that follow each other, of which every train snapshot matches."""

    segment: Segment
    frames: range

    def meets(self, other: Trains) -> bool:
        """Whether the other begins where this one ends."""
        return self.segment is other.segment and self.frames.stop == other.frames.start


_LINE = Row._fields.index("line")

Piece = Whole | Part | Sequence[Row]


def walk(source: Source, plan: Plan, span: Span, keep: bool = False) -> Iterator[Piece]:
    """Everything in a span that matches, in order.

    `keep` says to remember the segments that are read, as a full read should not.
    """
    if span.segment is not None:
        segment = source.segment(span.segment, keep)
        if segment is not None:  # it holds what it held when the plan was made
            if span.whole:
                yield Whole(segment, span.train + span.eval)
            else:
                yield from matching(source, segment, plan.condition)
            return
    yield from _walk_time(source, plan, span)


TrainPiece = Trains | Part | Sequence[Row]


def trains(source: Source, plan: Plan, span: Span) -> Iterable[TrainPiece]:
    """What holds the train snapshots of a span that match, in order; segments are remembered.

    What a choice of keys alone finds in one is remembered, too, so that charts of a job, and the
    two passes of a sample, look at its frames once.
    """
    segment = None if span.segment is None else source.segment(span.segment)
    if segment is None:
        return _joined(_walk_time(source, plan, span))
    if span.whole:
        return [Trains(segment, range(len(segment.frames)))]
    if not span.inside:
        return _joined(matching(source, segment, plan.condition))
    keys = plan.condition.of_keys()
    return source.selected(
        segment, keys.shapes, lambda: list(_joined(matching(source, segment, keys)))
    )


def _joined(pieces: Iterable[Piece]) -> Iterator[TrainPiece]:
    """Pieces, those joined that are neighbours and of which every train snapshot matches."""
    run: Trains | None = None
    for piece in map(_in_train, pieces):
        if not isinstance(piece, Trains):
            if run is not None:
                yield run
            run = None
            yield piece
        elif run is None or not run.meets(piece):
            if run is not None:
                yield run
            run = piece
        else:
            run = Trains(run.segment, range(run.frames.start, piece.frames.stop))
    if run is not None:
        yield run


def _in_train(piece: Piece) -> TrainPiece:
    """What a piece is to who looks at train snapshots only."""
    if isinstance(piece, Whole):
        return Trains(piece.segment, piece.frames)
    if isinstance(piece, Part) and piece.counts is not None:
        train, _ = piece.counts
        if train == piece.segment.frames[piece.frame].train:
            return Trains(piece.segment, range(piece.frame, piece.frame + 1))
    return piece


def _walk_time(source: Source, plan: Plan, span: Span) -> Iterator[Piece]:
    low, last = span.low, None
    while low <= span.high:
        condition = plan.condition.within(low, span.high)
        if last is not None:
            condition = condition.after(last)
        with source.connect() as connection:
            block = blocks.first(connection, plan.job, low, span.high)
            if block is None:
                return
            segment = rows = None
            if block.segment is not None:
                segment = segments.load(connection, block.segment)
            else:
                rows, last = _page(connection, plan.job, block, condition)
        if segment is not None:
            yield from matching(source, segment, condition)
            last = None
        elif rows:
            yield rows
        low = block.logged_at_max + 1 if last is None else last[0]


def matching(source: Source, segment: Segment, condition: Condition) -> Iterator[Piece]:
    """What matches in a segment, in order."""
    first = rows = 0
    for number, frame in enumerate(segment.frames):
        counts = condition.matching(frame)
        if counts == (frame.train, frame.eval):
            rows += frame.rows
            continue
        if rows:
            yield Whole(segment, rows, range(first, number))
        first, rows = number + 1, 0
        if counts != (0, 0):
            yield Part(source, segment, number, condition, counts)
    if rows:
        yield Whole(segment, rows, range(first, len(segment.frames)))


def _page(
    connection: sqlite3.Connection, job: int, block: Block, condition: Condition
) -> tuple[list[Row], Place | None]:
    """Some rows of a block, and where to go on if there may be more (primary key)."""
    found = connection.execute(
        f"SELECT {segments.COLUMNS} FROM snapshot WHERE job = :job AND logged_at <= :block_max"
        f" AND {condition.sql} ORDER BY {ORDER} LIMIT {PAGE}",
        {"job": job, "block_max": block.logged_at_max, **condition.parameters},
    )
    page, full = page_of(map(Row._make, found), _LINE)
    found.close()
    return page, page[-1].place if full else None


def page_of(found: Iterable[Sorted], line: int) -> tuple[list[Sorted], bool]:
    """The next of these, as many as are held at once, and whether that stopped it.

    `line` says which of their fields is the text.
    """
    page, size = [], 0
    for one in found:
        page.append(one)
        size += len(one[line])
        if len(page) == PAGE or size > PAGE_BYTES:
            return page, True
    return page, False
