"""Streaming what a plan found, whole, and summing it up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tunelog.backends.sqlite import segments
from tunelog.backends.sqlite.frames import Row
from tunelog.backends.sqlite.planning import Plan, Span
from tunelog.backends.sqlite.scanning import PAGE_BYTES, Part, Piece, Whole, walk
from tunelog.backends.sqlite.segments import ORDER, Segment, Source
from tunelog.errors import NotFound
from tunelog.model import ROW_SEPARATOR, Compressed, MetricSummary
from tunelog.wire.compressed import SEPARATOR
from tunelog.wire.snapshots import Renderer, decode_values, renderer
from tunelog.wire.summaries import Summarizer


def chunks(source: Source, plan: Plan) -> Iterator[bytes]:
    """Every matching snapshot, encoded. `NotFound` if the job is deleted meanwhile."""
    render = renderer(plan.query)
    for span in plan.spans:
        lines = None if render else _lines(source, plan, span)
        if lines is not None:
            yield ROW_SEPARATOR.join(lines)
            continue
        seen = 0
        for piece in walk(source, plan, span):
            held = _held(piece)
            seen += held.rows if isinstance(held, Whole) else len(held)
            yield _text(held, render)
        all_there(seen, span.train + span.eval)


def pieces(source: Source, plan: Plan) -> Iterator[bytes | Compressed] | None:
    """The same, compressed where it is kept so; None if nothing can be sent as it is kept."""
    if renderer(plan.query) is not None or all(span.segment is None for span in plan.spans):
        return None
    return _pieces(source, plan)


def _pieces(source: Source, plan: Plan) -> Iterator[bytes | Compressed]:
    for span in plan.spans:
        seen = 0
        for piece in walk(source, plan, span):
            held = _held(piece)
            seen += held.rows if isinstance(held, Whole) else len(held)
            yield _compressed(held) if isinstance(held, Whole) else _text(held, None)
        all_there(seen, span.train + span.eval)


def _compressed(piece: Whole) -> Compressed:
    if piece.some is None:
        return Compressed(piece.segment.data)
    return Compressed(SEPARATOR.join(map(piece.segment.compressed, piece.some)))


def _lines(source: Source, plan: Plan, span: Span) -> list[bytes] | None:
    """The lines of a span as they are stored, if all of them are rows and not too many."""
    if span.segment is not None or span.bytes > PAGE_BYTES:
        return None
    with source.connect() as connection:
        found = connection.execute(
            "SELECT line FROM snapshot WHERE job = :job AND logged_at BETWEEN :first AND :last"
            f" AND {plan.condition.sql} ORDER BY {ORDER}",
            parameters(plan, span),
        ).fetchall()
    return [line for (line,) in found] if len(found) == span.train + span.eval else None


def _text(held: Whole | Sequence[Row], render: Renderer | None) -> bytes:
    if isinstance(held, Whole):
        segment = held.segment
        if render is None:
            return ROW_SEPARATOR.join(map(segment.text, held.frames))
        return ROW_SEPARATOR.join(_rendered(segment, frame, render) for frame in held.frames)
    if render is None:
        return ROW_SEPARATOR.join([row.line for row in held])
    return ROW_SEPARATOR.join([render.one(row.line, row.exact) for row in held])


def _rendered(segment: Segment, frame: int, render: Renderer) -> bytes:
    if not segment.frames[frame].exacts:
        return render.many(segment.text(frame))
    lines = segment.text(frame).split(ROW_SEPARATOR)
    exact = segment.columns[frame].exact
    return ROW_SEPARATOR.join([render.one(line, exact.get(i)) for i, line in enumerate(lines)])


def _held(piece: Piece) -> Whole | Sequence[Row]:
    """A piece as frames of which everything matches, or as the rows that do."""
    return piece.matching() if isinstance(piece, Part) else piece


def rows_of(piece: Piece) -> Iterable[Row]:
    """The rows of a piece that match."""
    held = _held(piece)
    if isinstance(held, Whole):
        return (row for frame in held.frames for row in held.segment.rows(frame))
    return held


def all_there(seen: int, matching: int) -> None:
    """Raise `NotFound` if fewer snapshots were seen than matched when the read was planned."""
    if seen < matching:
        raise NotFound("the job was deleted while it was read")


def parameters(plan: Plan, span: Span) -> dict[str, int | str]:
    """Those of SQL that looks into a span, from `first` to `last`."""
    return {"job": plan.job, "first": span.low, "last": span.high, **plan.condition.parameters}


# ---------------------------------------------------------------- what it amounts to


def summarize(source: Source, plan: Plan, summarizer: Summarizer) -> None:
    """Sum up every matching snapshot; looks into segments only where a bound goes through."""
    for span in plan.spans:
        known = _summary(source, span)
        if known is not None:
            summarizer.add_stretch(span.train, span.eval, known)
            continue
        for piece in walk(source, plan, span):
            summarizer.add(
                (
                    "eval" if row.is_eval else "train",
                    row.global_step,
                    decode_values(row.line, row.exact),
                )
                for row in rows_of(piece)
            )


def _summary(source: Source, span: Span) -> Mapping[str, MetricSummary] | None:
    if span.segment is None or not span.inside:
        return None
    with source.connect() as connection:
        return segments.summary(connection, span.segment)
