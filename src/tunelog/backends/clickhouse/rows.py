"""Rows of the table `snapshot`, and the records that say which metrics and key sets they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from tunelog.backends.clickhouse.records import Kind, Record, number, string
from tunelog.model import Column, Snapshot
from tunelog.model import Kind as SnapshotKind
from tunelog.portable import KeptSnapshot
from tunelog.wire.snapshots import encode_snapshots

COLUMNS: Final = "job, kind, attempt, writer, seq, logged_at, step, shape, arrival, line, exact"
INSERT: Final = f"INSERT INTO snapshot ({COLUMNS}) FORMAT RowBinary"
KINDS: Final[Mapping[SnapshotKind, int]] = {"train": 0, "eval": 1}
"""How a snapshot's kind is written in the column `kind`."""

KIND_OF: Final[Mapping[int, SnapshotKind]] = {number: kind for kind, number in KINDS.items()}

_FIXED = Layout("<QBIIqqqQQ")

_BIG = 2**53


class Metric(Struct, frozen=True, array_like=True):
    """That a metric was seen with a kind of number.

    Attributes:
        name: the metric's name.
        seen: "f" a float, "i" an integer, "b" one beyond ±2**53.
        arrival: of the first snapshot that had it so.
        place: where it stood among that snapshot's metrics.
    """

    name: str
    seen: str
    arrival: int
    place: int


class Names:
    """Which metrics and key sets of a job are on record."""

    def __init__(self) -> None:
        self._signatures: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()
        self._metrics: set[tuple[str, str]] = set()
        self._shapes: dict[tuple[str, ...], int] = {}
        self._recorded: set[str] = set()

    def known(self, record: Record) -> None:
        """Take in a record of kind METRIC or SHAPE."""
        if record.kind == Kind.METRIC:
            metric = msgspec.json.decode(record.body, type=Metric)
            self._metrics.add((metric.name, metric.seen))
        else:
            self._recorded.add(record.id)

    def shape(self, snapshot: Snapshot) -> int:
        """The number of a snapshot's key set."""
        keys = tuple(snapshot.values)
        found = self._shapes.get(keys)
        if found is None:
            found = self._shapes[keys] = number("\n".join(keys)) if keys else 0
        return found

    def news(self, job: int, snapshot: Snapshot, arrival: int) -> list[Record]:
        """Records of what this snapshot is the first to have."""
        values = snapshot.values
        keys = tuple(values)
        signature = keys, tuple(map(type, values.values()))
        has_ints = int in signature[1]
        if signature in self._signatures and not has_ints:
            return []
        self._signatures.add(signature)
        found = []
        for place, (name, value) in enumerate(values.items()):
            for seen in _seen(value):
                if (name, seen) not in self._metrics:
                    self._metrics.add((name, seen))
                    metric = Metric(name, seen, arrival, place)
                    record_id = f"{number(name):016x}{seen}"
                    body = msgspec.json.encode(metric)
                    found.append(Record(Kind.METRIC, job, record_id, arrival, body))
        record_id = f"{self.shape(snapshot):016x}"
        if record_id not in self._recorded:
            self._recorded.add(record_id)
            found.append(Record(Kind.SHAPE, job, record_id, arrival, msgspec.json.encode(keys)))
        return found


def _seen(value: int | float) -> str:
    if isinstance(value, float):
        return "f"
    return "ib" if abs(value) > _BIG else "i"


def encode(
    job: int,
    attempt: int,
    writer: int,
    numbered: Sequence[tuple[int, int, int, Snapshot]],
) -> bytes:
    """Snapshots as `FORMAT RowBinary` takes them, each with its seq, arrival and shape."""
    lines = encode_snapshots([snapshot for *_, snapshot in numbered])
    return b"".join(
        _row(job, (attempt, writer, seq), snapshot, shape, arrival, line, exact)
        for (seq, arrival, shape, snapshot), (line, exact) in zip(numbered, lines, strict=True)
    )


def encode_kept(job: int, kept: KeptSnapshot, shape: int) -> bytes:
    """A snapshot that came from another backend, as it is."""
    place = kept.attempt, kept.writer, kept.seq
    return _row(job, place, kept, shape, kept.arrival, kept.line, kept.exact)


def _row(
    job: int,
    place: tuple[int, int, int],
    logged: Snapshot | KeptSnapshot,
    shape: int,
    arrival: int,
    line: bytes,
    exact: bytes | None,
) -> bytes:
    kind, moment, step = KINDS[logged.kind], logged.logged_at, logged.global_step
    fixed = _FIXED.pack(job, kind, *place, moment, step, shape, arrival)
    return fixed + string(line) + string(exact or b"")


def witness(job: int, kind: SnapshotKind, place: tuple[int, int, int], arrival: int) -> str:
    """A statement that counts a snapshot's row once it is there; of attempt, writer and seq."""
    attempt, writer, seq = place
    return (
        f"SELECT count() FROM snapshot WHERE job = {job} AND kind = {KINDS[kind]}"
        f" AND attempt = {attempt} AND writer = {writer} AND seq = {seq} AND arrival >= {arrival}"
    )


def first_witness(body: bytes) -> str:
    """The same for the first of encoded rows."""
    job, kind, attempt, writer, seq, _, _, _, arrival = _FIXED.unpack_from(body)
    return witness(job, KIND_OF[kind], (attempt, writer, seq), arrival)


def columns(metrics: Sequence[Metric]) -> list[Column]:
    """The columns that a job's records of kind METRIC tell of, in the order first logged."""
    found: dict[str, set[str]] = {}
    for metric in sorted(metrics, key=lambda metric: (metric.arrival, metric.place)):
        found.setdefault(metric.name, set()).add(metric.seen)
    return [
        Column(name, has_float="f" in seen, has_int="i" in seen, has_big_int="b" in seen)
        for name, seen in found.items()
    ]
