"""A spool in parts: some thousand consecutive records, to be sent and acknowledged together.

Under a backlog parts grow from 1,000 records to 8,000, and the next is read while one is on its way
to the service: a round trip, and what is done once a batch, then cost less. A service, or a proxy
before it, that finds a body too large has them shrink to what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
from msgspec import UNSET, Struct

from tunelog.model import Snapshot
from tunelog.recorder.spool import Damage, Frame, SpoolReader
from tunelog.sender.records import (
    AttemptRecord,
    FinishRecord,
    JobRecord,
    PackedRecord,
    Record,
    SnapshotRecord,
    UpdateRecord,
    decode,
)

FEWEST_RECORDS = 1_000
MOST_RECORDS = 8_000
MOST_BYTES = 8 * 1024 * 1024


class Row(Struct, frozen=True, gc=False):
    """A snapshot, its sequence number, and the frame that it came in."""

    frame: Frame
    seq: int
    snapshot: Snapshot


class Other(Struct, frozen=True):
    """A record that is no snapshot, and the frame that it came in."""

    frame: Frame
    record: Record


class Part(Struct):
    """Some consecutive records.

    Attributes:
        end: the offset after the last.
        rows: the snapshots among them, to be sent first.
        others: the other records; one that must come after all before it is the part's last.
        unknown: frames whose content this version does not know.
        damages: what is no record.
    """

    end: int
    rows: list[Row]
    others: list[Other]
    unknown: list[Frame]
    damages: list[Damage]

    @property
    def records(self) -> list[Record]:
        """The records that are no snapshots."""
        return [other.record for other in self.others]

    @property
    def attempt(self) -> AttemptRecord | None:
        """The attempt that begins after everything else in the part."""
        last = self.others[-1].record if self.others else None
        return last if isinstance(last, AttemptRecord) else None

    @property
    def only_begins(self) -> bool:
        """Whether nothing is in it but what a spool begins with."""
        begins = all(isinstance(record, (JobRecord, AttemptRecord)) for record in self.records)
        return begins and not (self.rows or self.unknown or self.damages)

    @property
    def ends_spool(self) -> bool:
        """Whether the recorder said that it writes no more."""
        return any(isinstance(record, FinishRecord) for record in self.records)


def read_part(reader: SpoolReader, most: int = FEWEST_RECORDS) -> Part | None:
    """The next part, at most so many records; None if nothing more is complete."""
    part = Part(0, [], [], [], [])
    size = count = 0
    while size < MOST_BYTES and count < most:
        found = reader.next()
        if found is None:
            break
        part.end = found.end
        size += found.end - found.start
        count += 1
        if isinstance(found, Damage):
            part.damages.append(found)
        elif _add(part, found):
            break
    return part if count else None


class PartReader:
    """The parts of a spool, one after another, the next one read ahead."""

    def __init__(self, path: str, offset: int) -> None:
        """Begin at an offset. Raises as `SpoolReader` does."""
        self._reader = SpoolReader(path, offset)
        self._thread = ThreadPoolExecutor(1)
        self._ahead: Future[Part | None] | None = None
        self._most = FEWEST_RECORDS
        self._ceiling = MOST_RECORDS

    def next(self) -> Part | None:
        """The next part; None if nothing more is complete at present."""
        ahead, self._ahead = self._ahead, None
        part = read_part(self._reader, self._most) if ahead is None else ahead.result()
        if part is None or len(part.rows) < self._most // 2:
            self._most = min(FEWEST_RECORDS, self._ceiling)
        else:
            self._most = min(2 * self._most, self._ceiling)
            self._ahead = self._thread.submit(read_part, self._reader, self._most)
        return part

    def shrink(self, rows: int) -> None:
        """Have later parts be smaller than one of so many rows, which was too large."""
        self._ceiling = max(1, min(self._ceiling, rows // 2))
        self._most = min(self._most, self._ceiling)

    def close(self) -> None:
        """Let go of the spool."""
        self._thread.shutdown()
        self._reader.close()


def _add(part: Part, frame: Frame) -> bool:
    """Put a frame where it belongs; answers whether the part ends with it."""
    try:
        record = decode(frame.payload)
        if isinstance(record, (PackedRecord, SnapshotRecord)):
            part.rows.append(Row(frame, *record.numbered()))
            return False
    except msgspec.MsgspecError:
        part.unknown.append(frame)
        return False
    part.others.append(Other(frame, record))
    if isinstance(record, UpdateRecord):
        return record.status is not UNSET
    return isinstance(record, (AttemptRecord, FinishRecord))


def runs(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in runs of consecutive sequence numbers, each of which can be one batch."""
    begin = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index].seq != rows[index - 1].seq + 1:
            yield rows[begin:index]
            begin = index
