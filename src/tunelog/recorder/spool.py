"""The spool: the append-only file in which a recorder keeps what is to be sent.

The file
    One process writes one spool, `<job id>.<token>.spool`, the token a UUIDv7 in hexadecimal
    digits, so the spools of a job sort by the time they were begun. The file begins with the line
    `tunelog spool 2`, 2 being the format's version. Then follow records, one a line:

        <length> <crc> <payload>

    *length* and *crc* are eight hexadecimal digits each: the payload's bytes, and its CRC-32. The
    payload is a JSON object in ASCII that begins with `{"record":"<type>"`. JSON has no raw
    newline, so a newline ends every record. What each type holds is in `records.py`; a reader sets
    aside types that it does not know.

Writing
    A record is one `write()` to a file opened with O_APPEND. A process that is killed loses nothing
    that `log()` returned from, because the page cache outlives it, so `log()` does not fsync; only
    a power cut can take the last seconds. `checkpoint()` and `finish()` do fsync: after a power cut
    a job goes on from a checkpoint, and what led up to it is on the disk with it.

Reading
    Without its newline a record is torn or still being written: a reader stops before it. A line
    whose length or CRC is wrong is damage: it is reported with its place, and reading goes on with
    the next record that is whole, also in the middle of a line (a write that was cut short by a
    full disk leaves a piece in front of the next record).

Locks
    The writer holds an exclusive flock on the spool for as long as it records: that is how others
    know that it lives. The sender holds one on the state file beside it (`state.py`).

Beside a spool lie `….state` (how far it was sent), `….log` (what the sender had to say) and, if the
service refused something, `….rejected.jsonl`. When a spool is finished, or its writer gone, and all
of it acknowledged, the spool, state and log are removed; what was refused stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import NamedTuple
from zlib import crc32

from tunelog.errors import StoreUnusable

VERSION = 2
MAX_PAYLOAD = 16 * 1024 * 1024
"""Bytes of the largest record: a snapshot of 10,000 metrics has less than 1 MB."""

STATE, LOG, REJECTED = ".state", ".log", ".rejected.jsonl"
"""What is appended to a spool's path to name the files beside it."""

_SUFFIX = ".spool"
_MAGIC = b"tunelog spool "
_HEADER = b"%s%d\n" % (_MAGIC, VERSION)
_READABLE = [b"%d" % version for version in range(1, VERSION + 1)]
_FRAME = 18  # "<8 digits> <8 digits> "
_BEGIN = b'{"record":'
_CHUNK = 1024 * 1024
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


def spool_path(folder: str, job_id: str, token: str) -> str:
    """Where the spool of a job and a token lies."""
    return os.path.join(folder, f"{job_id}.{token}{_SUFFIX}")


def parse_name(path: str) -> tuple[str, str] | None:
    """The job id and the token in a spool's name, None if it is no spool's name."""
    name = os.path.basename(path)
    job_id, _, token = name.removesuffix(_SUFFIX).rpartition(".")
    if name.endswith(_SUFFIX) and job_id and token:
        return job_id, token
    return None


def list_spools(folder: str) -> list[str]:
    """The spools in a folder, oldest first."""
    found = [(parsed[1], name) for name in os.listdir(folder) if (parsed := parse_name(name))]
    return [os.path.join(folder, name) for _, name in sorted(found)]


def try_lock(fd: int, *, shared: bool = False) -> bool | None:
    """Take a file's lock if it is free.

    Answers False if another process has it, None on a file system that has no locks (Lustre
    without `-o flock`, for one).
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def writer_lives(path: str) -> bool | None:
    """Whether a recorder holds this spool; None where the file system cannot tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        free = try_lock(fd, shared=True)
        return None if free is None else not free
    finally:
        os.close(fd)


class SpoolWriter:
    """Appends records to a new spool. May be used from any thread, and from signal handlers."""

    def __init__(self, path: str) -> None:
        """Raises `OSError` if the file cannot be made.

        It gets its name when it is locked, so nobody takes it for one whose writer is gone.
        """
        self.path = path
        unnamed = f"{path}.new"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = _Descriptor(os.open(unnamed, flags, 0o600))
        try:
            try_lock(self._file.fd)
            if os.write(self._file.fd, _HEADER) < len(_HEADER):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(unnamed, path)
        except OSError:
            self.close()
            os.unlink(unnamed)
            raise

    def write(self, record: bytes) -> None:
        """Write one framed record; it survives the end of the process when this returns.

        Raises `OSError` if the disk does not take all of it, or the writer is closed. The piece
        that was written is then damage to a reader; the records after it are not touched by it.
        """
        file = self._file
        try:
            written = os.write(file.fd, record)
        finally:
            del file  # whoever keeps an error's traceback does not keep the file by it
        if written < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Return when everything that was written is on stable storage."""
        file = self._file
        os.fsync(file.fd)

    def size(self) -> int:
        """The bytes written so far: where the next record begins."""
        file = self._file
        return os.fstat(file.fd).st_size

    def close(self) -> None:
        """Let go of the file and its lock, as soon as nobody is in `write` any more."""
        self._file = _Descriptor(-1)

    def disown(self) -> None:
        """Close the copy of the file that a forked child got; the parent's stays open and locked.

        At once, as a thread that was in `write` when the process was forked is not here to end it.
        """
        self._file.close()


class _Descriptor:
    """An open file, which is closed when nobody uses it any more.

    So it is closed under no thread that is about to write: by then its number could be another
    file's. A lock would cost `log()` a twentieth.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it for all."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class Pattern:
    """Frames payloads that begin alike and are equally long: all but the rest is done once.

    Attributes:
        crc: the CRC-32 of how they begin.
        line: `line % (crc32(rest, crc), rest)` is the record of the one that goes on with `rest`.
    """

    __slots__ = ("crc", "line")

    def __init__(self, head: bytes, rest: int) -> None:
        """`rest` is the number of bytes that follow the head. Raises `OSError` for too many."""
        length = len(head) + rest
        if length > MAX_PAYLOAD:
            raise OSError(errno.EFBIG, f"a record of {length} bytes is too large")
        self.crc = crc32(head)
        self.line = b"%08x %%08x %b%%b\n" % (length, head.replace(b"%", b"%%"))


def framed(payload: bytes) -> bytes:
    """The record of a payload. Raises `OSError` if it is too large."""
    pattern = Pattern(b"", len(payload))
    return pattern.line % (crc32(payload, pattern.crc), payload)


class Frame(NamedTuple):
    """A whole record: its payload, and where its line begins and ends in the file."""

    start: int
    end: int
    payload: bytes


class Damage(NamedTuple):
    """A part of the file that is no record, and why."""

    start: int
    end: int
    reason: str


class SpoolReader:
    """Reads a spool, also while it is written."""

    def __init__(self, path: str, offset: int = 0) -> None:
        """`offset` is where a record begins, as `Frame.end` told it; 0 is the beginning.

        Raises `StoreUnusable` if the file is not a spool, or of a newer version, and `OSError`.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._buffer = b""
        self._at = 0  # where in the buffer the next line begins
        self._start = offset  # where in the file the buffer begins
        self._seen_header = offset > 0

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def next(self) -> Frame | Damage | None:
        """What comes next; None if nothing more is complete at present."""
        if not self._seen_header and not self._read_header():
            return None
        end = self._line_end()
        if end is None:
            return None
        begin = self._at
        whole = _frame_at(self._buffer, begin, end)
        if whole is None:
            begin = self._resync(begin, end)
            found = Damage(self._start + self._at, self._start + begin, "no whole record lies here")
            self._at = begin
            return found
        self._at = end
        return Frame(self._start + begin, self._start + end, whole)

    def _line_end(self) -> int | None:
        """The end of the next line in the buffer, which grows until it holds one.

        Of a stretch that is too long to be a line, the end of what can only be damage.
        """
        searched = self._at
        while (newline := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) - self._at > MAX_PAYLOAD + _FRAME + 1:  # longer than any record
                begin = self._buffer.rfind(_BEGIN, self._at + _FRAME + 1)
                return (begin if begin >= 0 else len(self._buffer) - len(_BEGIN)) - _FRAME
            searched = len(self._buffer) - self._at
            fresh = os.pread(self._fd, _CHUNK, self._start + len(self._buffer))
            if not fresh:
                return None
            self._buffer = self._buffer[self._at :] + fresh
            self._start += self._at
            self._at = 0
        return newline + 1

    def _resync(self, begin: int, end: int) -> int:
        """Where the next whole record may begin, after a line that is none."""
        at = self._buffer.find(_BEGIN, begin + _FRAME + 1, end)
        while at >= 0:
            if _frame_at(self._buffer, at - _FRAME, end) is not None:
                return at - _FRAME
            at = self._buffer.find(_BEGIN, at + 1, end)
        return end

    def _read_header(self) -> bool:
        head = os.pread(self._fd, len(_HEADER) + 8, 0)
        line, newline, _ = head.partition(b"\n")
        if not newline and len(head) < len(_HEADER) and _HEADER.startswith(head):
            return False
        if not line.startswith(_MAGIC):
            raise StoreUnusable(f"{self.path} is not a spool of tunelog")
        version = line[len(_MAGIC) :]
        if version not in _READABLE:
            said = version.decode("ascii", "replace")
            raise StoreUnusable(
                f"{self.path} is a spool of version {said}; this tunelog reads 1 to {VERSION}"
            )
        self._start = len(_HEADER)
        self._seen_header = True
        return True


def _frame_at(buffer: bytes, begin: int, end: int) -> bytes | None:
    """The payload of the record that fills `buffer[begin:end]`, None if none does."""
    head = buffer[begin : begin + _FRAME]
    payload = buffer[begin + _FRAME : end - 1]
    try:
        length, crc = int(head[:8], 16), int(head[9:17], 16)
    except ValueError:
        return None
    if head[8:9] + head[17:18] != b"  " or buffer[end - 1 : end] != b"\n":
        return None
    if length != len(payload) or crc != crc32(payload) or not payload.startswith(_BEGIN):
        return None
    return payload
