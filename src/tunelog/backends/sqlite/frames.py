"""Snapshots packed into frames: some hundred lines of JSON text, compressed together.

A frame is what a read looks into, or sends as it is. Beside its text stand bounds of what it holds,
by which reads pass over it, the columns that the text does not have, and each metric's extremes.
Nothing here knows of a database.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec
import zstandard
from msgspec import Struct, field
from zstandard import ZstdCompressionParameters

from tunelog.backends.sqlite.extremes import Extremes, add_extremes
from tunelog.model import ROW_SEPARATOR, MetricSummary
from tunelog.wire.compressed import SEPARATOR
from tunelog.wire.snapshots import STEP, TIMESTAMP
from tunelog.wire.summaries import merged, summed

FRAME_ROWS = 128
"""Fewer compress worse, more make a sampled read unpack more around each line."""

FRAME_BYTES = 1 << 15
"""A frame of wide rows ends when its text is about so long; one line may be longer."""

Values = Mapping[str, int | float]
Counts = tuple[int, int]
"""Train and eval snapshots."""

Place = tuple[int, int, int, int]
"""Logged_at, attempt, writer and seq, which reads sort by."""


class Row(NamedTuple):
    """A stored snapshot. Sorts in the order of reading. Filters see a row as a stretch of one."""

    logged_at: int
    attempt: int
    writer: int
    seq: int
    is_eval: int
    global_step: int
    shape: int
    arrival: int
    exact: bytes | None
    line: bytes

    @property
    def place(self) -> Place:
        """Where it stands in the order of reading."""
        return self[0], self[1], self[2], self[3]

    @property
    def train(self) -> int:
        """1 if it is a train snapshot."""
        return 1 - self.is_eval

    @property
    def eval(self) -> int:
        """1 if it is an eval snapshot."""
        return self.is_eval

    @property
    def shapes(self) -> Mapping[int, Counts]:
        """How many of each shape: this one."""
        return {self.shape: (1 - self.is_eval, self.is_eval)}

    # Its bounds, as a stretch of one.

    @property
    def logged_at_from(self) -> int:
        """`logged_at`."""
        return self.logged_at

    @property
    def logged_at_max(self) -> int:
        """`logged_at`."""
        return self.logged_at

    @property
    def attempt_min(self) -> int:
        """`attempt`."""
        return self.attempt

    @property
    def attempt_max(self) -> int:
        """`attempt`."""
        return self.attempt

    @property
    def step_min(self) -> int:
        """`global_step`."""
        return self.global_step

    @property
    def step_max(self) -> int:
        """`global_step`."""
        return self.global_step

    @property
    def arrival_min(self) -> int:
        """`arrival`."""
        return self.arrival

    @property
    def arrival_max(self) -> int:
        """`arrival`."""
        return self.arrival


class Frame(Struct, frozen=True, array_like=True, gc=False):
    """What a frame holds: counts and bounds, all of them attained.

    Attributes:
        size: bytes of the compressed text.
        bytes: bytes of the lines.
        exacts: how many rows have non-finite values.
        shapes: shape to how many train and eval snapshots have it.
    """

    size: int
    bytes: int
    train: int
    eval: int
    exacts: int
    logged_at_from: int
    logged_at_max: int
    step_min: int
    step_max: int
    attempt_min: int
    attempt_max: int
    arrival_min: int
    arrival_max: int
    shapes: dict[int, Counts]

    @property
    def rows(self) -> int:
        """How many snapshots it holds."""
        return self.train + self.eval


class Parts(NamedTuple):
    """The parts of a segment, as they are stored.

    Attributes:
        frames: its `Frame`s; the bounds of all are the segment's.
        columns: what the text has not, per frame.
        extremes: by metric.
        summary: by metric.
        data: the frames' texts, a frame that holds a separator between two.
    """

    frames: Sequence[Frame]
    columns: bytes
    extremes: bytes
    summary: bytes
    data: bytes


class Columns(Struct, frozen=True, array_like=True):
    """The columns of a frame's rows that their text lacks, as runs (first, difference, count)."""

    attempt: list[int]
    writer: list[int]
    seq: list[int]
    is_eval: list[int]
    shape: list[int]
    arrival: list[int]
    exact: dict[int, bytes]

    def train_of(self, shapes: Collection[int] | None) -> list[int]:
        """The numbers of the rows that are train snapshots, and of one of the shapes if given."""
        train = [i for i, is_eval in enumerate(_numbers(self.is_eval)) if not is_eval]
        if shapes is None:
            return train
        shape = _numbers(self.shape)
        return [i for i in train if shape[i] in shapes]

    def place(self, row: int, line: bytes) -> Place:
        """Where the frame's row of this number and line stands in the order of reading."""
        logged_at = int(line[_TIME_AT : line.index(b",", _TIME_AT)])
        return logged_at, _nth(self.attempt, row), _nth(self.writer, row), _nth(self.seq, row)


_TIME_AT = len(f'{{"{TIMESTAMP}":')


class _Place(Struct, gc=False):
    """What the text has of a row's columns."""

    logged_at: int = field(name=TIMESTAMP)
    global_step: int = field(name=STEP)


_places = msgspec.json.Decoder(list[_Place]).decode
_encode = msgspec.msgpack.Encoder().encode
_decode_frames = msgspec.msgpack.Decoder(list[Frame]).decode
_decode_columns = msgspec.msgpack.Decoder(list[Columns]).decode
_decode_extremes = msgspec.msgpack.Decoder(dict[str, Extremes]).decode
_decode_summary = msgspec.msgpack.Decoder(dict[str, MetricSummary]).decode


# ---------------------------------------------------------------- packing


def pack(rows: Sequence[Row], values: Sequence[Values], how: ZstdCompressionParameters) -> Parts:
    """Pack rows, which are in order, with their values.

    Args:
        rows: at least one.
        values: of each row, non-finite ones as floats.
        how: zstd compresses the text.
    """
    compress = zstandard.ZstdCompressor(compression_params=how).compress
    frames: list[Frame] = []
    columns, texts = [], []
    extremes: dict[str, Extremes] = {}
    summary: dict[str, MetricSummary] = {}
    for low, high in _cuts(rows):
        part, part_values = rows[low:high], values[low:high]
        text = compress(ROW_SEPARATOR.join([row.line for row in part]))
        texts.append(text)
        columns.append(_columns(part))
        series = _series(part, part_values)
        trained = [not row.is_eval for row in part]
        add_extremes(extremes, len(frames), trained, series)
        for name, (places, numbers) in series.items():
            found = summed([part[i].global_step for i in places], numbers)
            summary[name] = merged(summary[name], found) if name in summary else found
        frames.append(_frame(part, len(text)))
    return Parts(
        frames,
        _compressed(columns),
        _compressed(extremes),
        _compressed(summary),
        SEPARATOR.join(texts),
    )


def _cuts(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    low, size = 0, 0
    for i, row in enumerate(rows):
        if i - low == FRAME_ROWS or (size > FRAME_BYTES and i > low):
            yield low, i
            low, size = i, 0
        size += len(row.line)
    yield low, len(rows)


def _frame(rows: Sequence[Row], size: int) -> Frame:
    times, attempts, _, _, evals, steps, shapes, arrivals, exacts, lines = zip(*rows, strict=True)
    return Frame(
        size=size,
        bytes=sum(map(len, lines)),
        train=len(rows) - sum(evals),
        eval=sum(evals),
        exacts=len(rows) - exacts.count(None),
        logged_at_from=times[0],
        logged_at_max=times[-1],
        step_min=min(steps),
        step_max=max(steps),
        attempt_min=min(attempts),
        attempt_max=max(attempts),
        arrival_min=min(arrivals),
        arrival_max=max(arrivals),
        shapes=_shape_counts(shapes, evals),
    )


def _shape_counts(shapes: Sequence[int], evals: Sequence[int]) -> dict[int, Counts]:
    counts: dict[int, Counts] = {}
    for (shape, is_eval), number in Counter(zip(shapes, evals, strict=True)).items():
        train, evaluated = counts.get(shape, (0, 0))
        counts[shape] = (train, number) if is_eval else (number, evaluated)
    return counts


def shape_counts(frames: Iterable[Frame]) -> dict[int, Counts]:
    """How many train and eval snapshots of each shape all of them hold."""
    counts: dict[int, Counts] = {}
    for frame in frames:
        for shape, (train, evals) in frame.shapes.items():
            before = counts.get(shape, (0, 0))
            counts[shape] = (before[0] + train, before[1] + evals)
    return counts


def _columns(rows: Sequence[Row]) -> Columns:
    _, attempts, writers, seqs, evals, _, shapes, arrivals, exacts, _ = zip(*rows, strict=True)
    return Columns(
        _runs(attempts),
        _runs(writers),
        _runs(seqs),
        _runs(evals),
        _runs(shapes),
        _runs(arrivals),
        {i: text for i, text in enumerate(exacts) if text is not None},
    )


def _runs(numbers: Sequence[int]) -> list[int]:
    """Arithmetic progressions that follow each other: first, difference, count of each."""
    runs: list[int] = []
    start, count = 0, len(numbers)
    while start < count:
        first = numbers[start]
        step = numbers[start + 1] - first if start + 1 < count else 0
        end = start + 1
        while end < count and numbers[end] - numbers[end - 1] == step:
            end += 1
        runs += (first, step, end - start)
        start = end
    return runs


def _numbers(runs: Sequence[int]) -> list[int]:
    numbers: list[int] = []
    for i in range(0, len(runs), 3):
        first, step, count = runs[i : i + 3]
        numbers += range(first, first + step * count, step) if step else [first] * count
    return numbers


def _nth(runs: Sequence[int], place: int) -> int:
    for i in range(0, len(runs), 3):
        first, step, count = runs[i : i + 3]
        if place < count:
            return first + step * place
        place -= count
    raise IndexError(place)


def _series(
    rows: Sequence[Row], values: Sequence[Values]
) -> dict[str, tuple[Sequence[int], Sequence[int | float]]]:
    """Each metric's values and the places of the rows that have them."""
    everywhere = range(len(rows))
    if len({row.shape for row in rows}) == 1:
        numbers = zip(*(row.values() for row in values), strict=True)
        return {name: (everywhere, found) for name, found in zip(values[0], numbers, strict=True)}
    series: dict[str, tuple[list[int], list[int | float]]] = {}
    for i in everywhere:
        for name, value in values[i].items():
            places, found = series.setdefault(name, ([], []))
            places.append(i)
            found.append(value)
    return dict(series)


def _compressed(value: object) -> bytes:
    return zstandard.ZstdCompressor(level=9).compress(_encode(value))


def _expanded(data: bytes) -> bytes:
    return _threads.decompress(data)


# ---------------------------------------------------------------- unpacking


def encode_frames(frames: Sequence[Frame]) -> bytes:
    """The frames' counts and bounds, to be stored."""
    return _compressed(frames)


def decode_frames(data: bytes) -> list[Frame]:
    """What `encode_frames` made."""
    return _decode_frames(_expanded(data))


def decode_extremes(data: bytes) -> dict[str, Extremes]:
    """Every metric's extremes, as long as the metric has any, frame by frame."""
    return _decode_extremes(_expanded(data))


def decode_summary(data: bytes) -> dict[str, MetricSummary]:
    """Every metric's summary over the segment."""
    return _decode_summary(_expanded(data))


def offsets(frames: Sequence[Frame]) -> Sequence[int]:
    """Where in `data` each frame's text begins."""
    sizes = (frame.size + len(SEPARATOR) for frame in frames)
    return array("q", accumulate(sizes, initial=0))


class _Threads(threading.local):
    """A decompressor for each thread: to make one takes longer than to unpack a frame."""

    def __init__(self) -> None:
        self.decompress = zstandard.ZstdDecompressor().decompress


_threads = _Threads()


def text(compressed: bytes) -> bytes:
    """The lines of a frame, `ROW_SEPARATOR` between two."""
    return _threads.decompress(compressed)


def decode_columns(data: bytes) -> list[Columns]:
    """The columns of every frame."""
    return _decode_columns(_expanded(data))


def rows(columns: Columns, lines: bytes) -> list[Row]:
    """The rows of a frame, from its columns and what `text` gave of it."""
    places = _places(b"[" + lines + b"]")
    exact = columns.exact
    exacts = [exact.get(i) for i in range(len(places))] if exact else [None] * len(places)
    found = zip(
        [place.logged_at for place in places],
        _numbers(columns.attempt),
        _numbers(columns.writer),
        _numbers(columns.seq),
        _numbers(columns.is_eval),
        [place.global_step for place in places],
        _numbers(columns.shape),
        _numbers(columns.arrival),
        exacts,
        lines.split(ROW_SEPARATOR),
        strict=True,
    )
    return [Row._make(row) for row in found]
