"""Samples: which train snapshots a resolution keeps, and how they are found."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from tunelog import downsample
from tunelog.backends.sqlite.frames import Row
from tunelog.backends.sqlite.planning import Plan, Span
from tunelog.backends.sqlite.reading import all_there, parameters, rows_of
from tunelog.backends.sqlite.scanning import PAGE, PAGE_BYTES, Part, Trains, page_of, trains
from tunelog.backends.sqlite.segments import ORDER, Segment, Source
from tunelog.model import ROW_SEPARATOR
from tunelog.wire.snapshots import ValuesDecoder, decode_values, renderer, values_decoder

_REVERSED = "logged_at DESC, attempt DESC, writer DESC, seq DESC"


Shown = tuple[int, int, int, int, bytes, bytes | None]
"""A snapshot to be shown: its place, line and exact line; ordered by the place."""

_LINE = 4


def _shown(row: Row) -> Shown:
    return *row.place, row.line, row.exact


def chunks(source: Source, plan: Plan, ordinals: Iterable[int]) -> Iterator[bytes]:
    """The train snapshots at `ordinals`, and every eval snapshot, encoded.

    `NotFound` if the job is deleted meanwhile.
    """
    render = renderer(plan.query)
    shown: Iterator[Shown] = _picked(source, plan, iter(ordinals))
    if plan.eval:
        shown = heapq.merge(shown, _evals(source, plan))
    full = True
    while full:
        page, full = page_of(shown, _LINE)
        lines = [line if render is None else render.one(line, exact) for *_, line, exact in page]
        if lines:
            yield ROW_SEPARATOR.join(lines)


def _picked(source: Source, plan: Plan, ordinals: Iterator[int]) -> Iterator[Shown]:
    """The train snapshots at `ordinals`, which ascend."""
    base = 0
    ordinal = next(ordinals, None)
    for span in plan.spans:
        wanted = []
        while ordinal is not None and ordinal < base + span.train:
            wanted.append(ordinal - base)
            ordinal = next(ordinals, None)
        base += span.train
        if wanted:
            yield from _at(source, plan, span, wanted)


def _at(source: Source, plan: Plan, span: Span, wanted: list[int]) -> Iterator[Shown]:
    """The train snapshots at these ordinals of a span."""
    found = 0
    if span.segment is None and len(wanted) * 16 <= span.train:
        for one in _sought(source, plan, span, wanted):
            found += 1
            yield one
    base = 0
    for unit in _units(source, plan, span) if found < len(wanted) else ():
        until = bisect_left(wanted, base + unit.train, found)
        yield from unit.shown([ordinal - base for ordinal in wanted[found:until]])
        base, found = base + unit.train, until
        if found == len(wanted):
            return
    all_there(found, len(wanted))


class _Rows(NamedTuple):
    """Rows to pick train snapshots from."""

    rows: Sequence[Row]

    @property
    def train(self) -> int:
        return sum(row.train for row in self.rows)

    def shown(self, ordinals: Sequence[int]) -> Iterator[Shown]:
        rows = [row for row in self.rows if not row.is_eval] if ordinals else []
        for ordinal in ordinals:
            yield _shown(rows[ordinal])


class _Frames(NamedTuple):
    """Frames of which everything matches; `placed` says whether it matters where snapshots are."""

    source: Source
    segment: Segment
    frames: range
    placed: bool

    @property
    def train(self) -> int:
        begins = self.segment.train_begins
        return begins[self.frames.stop] - begins[self.frames.start]

    def shown(self, ordinals: Sequence[int]) -> Iterator[Shown]:
        begins, at = self.segment.train_begins, 0
        before = begins[self.frames.start]
        while at < len(ordinals):
            frame = bisect_right(begins, ordinals[at] + before) - 1
            until = bisect_left(ordinals, begins[frame + 1] - before, at)
            base = begins[frame] - before
            places = [ordinal - base for ordinal in ordinals[at:until]]
            yield from _in_frame(self.source, self.segment, frame, places, None, self.placed)
            at = until


class _Frame(NamedTuple):
    """A frame of which `train` train snapshots match, those of some shapes."""

    part: Part
    train: int
    placed: bool

    def shown(self, ordinals: Sequence[int]) -> Iterator[Shown]:
        source, segment, frame, condition, _ = self.part
        if not ordinals:
            return iter(())
        return _in_frame(source, segment, frame, ordinals, condition.shapes, self.placed)


def _in_frame(
    source: Source,
    segment: Segment,
    number: int,
    ordinals: Sequence[int],
    shapes: Collection[int] | None,
    placed: bool,
) -> Iterator[Shown]:
    """Train snapshots of a frame, of some shapes or any, by their ordinals among these."""
    frame = segment.frames[number]
    if not (placed or shapes or frame.eval or frame.exacts):
        for line in source.lines(segment, number, ordinals):
            yield 0, 0, 0, 0, line, None
        return
    columns = segment.columns[number]
    found = columns.train_of(shapes) if shapes or frame.eval else range(frame.rows)
    places = [found[ordinal] for ordinal in ordinals]
    for place, line in zip(places, source.lines(segment, number, places), strict=True):
        yield *columns.place(place, line), line, columns.exact.get(place)


def _units(source: Source, plan: Plan, span: Span) -> Iterator[_Rows | _Frames | _Frame]:
    """Everything in a span that matches, to pick train snapshots from."""
    placed = plan.eval > 0
    for piece in trains(source, plan, span):
        if isinstance(piece, Trains):
            yield _Frames(source, piece.segment, piece.frames, placed)
        elif isinstance(piece, Part) and piece.counts is not None:
            yield _Frame(piece, piece.counts[0], placed)
        else:
            yield _Rows(list(rows_of(piece)))


def _sought(source: Source, plan: Plan, span: Span, wanted: list[int]) -> Iterator[Shown]:
    """The train snapshots at these ordinals of a span of rows, until one is not there: packed."""
    at_once = max(1, PAGE_BYTES * (span.train + span.eval) // (span.bytes + 1))
    for start in range(0, len(wanted), at_once):
        found: list[Shown] = []
        with source.connect() as connection:
            for ordinal in wanted[start : start + at_once]:
                row = connection.execute(*_seek(plan, span, ordinal)).fetchone()
                if row is None:
                    break
                found.append(row)
        yield from found
        if len(found) < min(at_once, len(wanted) - start):
            return


def _seek(plan: Plan, span: Span, ordinal: int) -> tuple[str, dict[str, int | str]]:
    """The statement for one train snapshot of a span, counted from its nearer end."""
    from_end = span.train - 1 - ordinal
    order = _REVERSED if from_end < ordinal else ORDER
    statement = (
        f"SELECT {ORDER}, line, exact FROM snapshot"
        " WHERE job = :job AND logged_at BETWEEN :first AND :last AND is_eval = 0"
        f" AND {plan.condition.sql} ORDER BY {order} LIMIT 1 OFFSET :skip"
    )
    return statement, {**parameters(plan, span), "skip": min(ordinal, from_end)}


def _evals(source: Source, plan: Plan) -> Iterator[Shown]:
    """Every matching eval snapshot (index snapshot_eval, else the train rows are walked past)."""
    condition, seen = plan.condition, 0
    while seen < plan.eval:
        with source.connect() as connection:
            found = connection.execute(
                f"SELECT {ORDER}, line, exact FROM snapshot INDEXED BY snapshot_eval"
                " WHERE job = :job AND is_eval = 1 AND logged_at BETWEEN :first AND :last_time"
                f" AND {condition.sql} ORDER BY {ORDER} LIMIT {PAGE}",
                {
                    "job": plan.job,
                    "first": plan.spans[0].low,
                    "last_time": plan.spans[-1].high,
                    **condition.parameters,
                },
            )
            page: list[Shown] = page_of(found, _LINE)[0]
            found.close()
        all_there(len(page), 1)
        yield from page
        seen += len(page)
        logged_at, attempt, writer, seq, _, _ = page[-1]
        condition = plan.condition.after((logged_at, attempt, writer, seq))


# ---------------------------------------------------------------- minmax


def minmax_ordinals(source: Source, plan: Plan, resolution: int) -> Sequence[int]:
    """The ordinals that minmax keeps; looks into frames only where a bucket ends in one."""
    keys = [c.name for c in plan.columns if not c.name.startswith("eval/")]
    chosen = downsample.MinMax(keys, plan.train, resolution)
    if chosen.looks:
        decode = values_decoder(chosen.watched)
        for piece in chain.from_iterable(trains(source, plan, span) for span in plan.spans):
            if isinstance(piece, Trains):
                _look(source, piece, chosen, decode)
            else:
                for row in rows_of(piece):
                    if not row.is_eval:
                        chosen.add(decode_values(row.line, row.exact))
    return chosen.ordinals()


def _look(source: Source, piece: Trains, chosen: downsample.MinMax, decode: ValuesDecoder) -> None:
    """Take the frames that lie within a bucket by their extremes; look into the others."""
    segment, frames = piece
    known, begins = source.extremes(segment.number), segment.train_begins
    at = frames.start
    while at < frames.stop:
        last = bisect_right(begins, begins[at] + chosen.room, at, frames.stop + 1) - 1
        if last > at and known is not None:
            within = range(at, last)
            watched = [key for key in chosen.watched if key in known]
            extremes = {key: known[key].over(within, begins) for key in watched}
            chosen.add_stretch(begins[last] - begins[at], extremes)
            at = last
        else:
            chosen.add_rows(_values(segment, at, chosen.watched, decode))
            at += 1


def _values(
    segment: Segment, number: int, watched: Sequence[str], decode: ValuesDecoder
) -> Sequence[downsample.Row]:
    """The watched values of a frame's train snapshots."""
    frame, columns = segment.frames[number], segment.columns[number]
    rows = decode(segment.text(number))
    for place, exact in columns.exact.items():
        values = decode_values(b"", exact)
        rows[place] = tuple(map(values.get, watched))
    return [rows[place] for place in columns.train_of(None)] if frame.eval else rows
