"""The table `record`: everything that is kept of a job, or of a project, beside snapshots.

A record is known by (kind, job, id); of several with one name the greatest version counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import IntEnum
from struct import Struct as Layout

from msgspec import Struct

from tunelog.backends.clickhouse.node import quote

COLUMNS = "kind, job, id, version, body"
INSERT = f"INSERT INTO record ({COLUMNS}) FORMAT RowBinary"

_HEAD = Layout("<BQ")
_VERSION = Layout("<Q")


class Kind(IntEnum):
    """What a record tells."""

    MARK = 1
    """Which process writes the job; see `owning`."""
    STATE = 2
    """The job as a whole; its id is the project's."""
    EVENT = 3
    CHECKPOINT = 4
    METRIC = 5
    SHAPE = 6
    PROJECT = 7
    KEY = 8
    SHARE = 9
    SECRET = 10
    META = 11
    """What the tables themselves are: their layout, and which shard of how many."""
    RECEIVER = 12
    """A process that writes much of the shard, and takes blocks of others; see `lane`."""


class Record(Struct, frozen=True):
    """A row of the table.

    Attributes:
        kind: what it tells.
        job: the job's number, or another name's; 0 where there is one only.
        id: which of this kind; without tab and newline.
        version: of several of one name, the greatest counts.
        body: JSON, which has neither tab nor newline in it.
    """

    kind: Kind
    job: int
    id: str
    version: int
    body: bytes


def number(*names: str) -> int:
    """The 64-bit number that stands for a name, or for one within another, in key columns."""
    joined = "/".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")


def encode(records: Iterable[Record]) -> bytes:
    """Records as `FORMAT RowBinary` takes them."""
    parts: list[bytes] = []
    for record in records:
        parts += (
            _HEAD.pack(record.kind, record.job),
            string(record.id.encode()),
            _VERSION.pack(record.version),
            string(record.body),
        )
    return b"".join(parts)


def string(text: bytes) -> bytes:
    """A String of RowBinary: its length as LEB128, then its bytes."""
    size, length = len(text), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + text


def select(where: str) -> str:
    """A statement that gives the records of a condition, of each name the greatest version."""
    return (
        f"SELECT {COLUMNS} FROM record WHERE {where}"
        " ORDER BY kind, job, id, version DESC LIMIT 1 BY kind, job, id FORMAT TabSeparatedRaw"
    )


def select_all(where: str) -> str:
    """The same with every version that lies there: cheaper, where that is one name's."""
    return f"SELECT {COLUMNS} FROM record WHERE {where} FORMAT TabSeparatedRaw"


def decode(answer: bytes) -> list[Record]:
    """The records that a statement of `select` or `select_all` gave."""
    return [_record(line) for line in answer.split(b"\n")[:-1]]


def _record(line: bytes) -> Record:
    kind, job, name, version, body = line.split(b"\t", 4)
    return Record(Kind(int(kind)), int(job), name.decode(), int(version), body)


def witness(record: Record) -> str:
    """A statement that counts a record once it is there."""
    return (
        f"SELECT count() FROM record WHERE kind = {record.kind:d} AND job = {record.job}"
        f" AND id = {quote(record.id)} AND version >= {record.version}"
    )


def listed(numbers: Iterable[int]) -> str:
    """Numbers for the right of `IN`."""
    return ", ".join(map(str, numbers))


def newest(answers: Sequence[list[Record]]) -> list[Record]:
    """Of what several replicas gave, of each name the greatest version."""
    if len(answers) == 1:
        return answers[0]
    found: dict[tuple[int, int, str], Record] = {}
    for record in (record for answer in answers for record in answer):
        name = (record.kind, record.job, record.id)
        if name not in found or found[name].version < record.version:
            found[name] = record
    return list(found.values())
