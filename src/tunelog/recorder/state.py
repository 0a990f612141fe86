"""The state beside a spool: written by its sender, read by its recorder.

One block of 1,024 bytes, `<crc> <JSON object>` padded with spaces, replaced by one `pwrite()`. A
reader that meets a half-written block keeps what it read last. It is a file and not mapped memory
on purpose: a mapping of a file that something else cuts short kills the trainer by SIGBUS.

Losing the file loses nothing: everything is then sent again, under the same names, and counted as
duplicates by the service.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import NamedTuple

from tunelog.recorder.spool import STATE, try_lock

_BLOCK = 1024
_TEXT = 300


class State(NamedTuple):
    """How far a spool was sent, and what came back.

    Attributes:
        acknowledged: the offset up to which every record is on the service's stable storage.
        job_id: the job that is sent to; another than asked for when that one had completed.
        attempt: the number that the service gave to the attempt; 0 while it is not known.
        stop: the service asks the trainer to stop.
        stored: snapshots acknowledged.
        rejected: records that the service refused and that were set aside.
        damaged: parts of the spool that could not be read.
        blocked: the service answers, but does not let this sender in; trying goes on.
        error: why sending does not succeed at the moment, "" if it does.
        done: everything was acknowledged and the spool removed.
    """

    acknowledged: int = 0
    job_id: str = ""
    attempt: int = 0
    stop: bool = False
    stored: int = 0
    rejected: int = 0
    damaged: int = 0
    blocked: bool = False
    error: str = ""
    done: bool = False


class StateFile:
    """The state of one spool on disk."""

    def __init__(self, path: str) -> None:
        """Opens it, or makes one that says that nothing was sent. Raises `OSError`."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._last = State()

    def read(self) -> State:
        """The state as it is now; never fails."""
        try:
            block = os.pread(self._fd, _BLOCK, 0)
            text = block[9:]
            if len(block) == _BLOCK and int(block[:8], 16) == zlib.crc32(text):
                self._last = State(**json.loads(text))
        except (OSError, ValueError, TypeError):
            pass
        return self._last

    def write(self, state: State) -> None:
        """Replace the state. Raises `OSError`."""
        text = json.dumps(state._replace(error=state.error[:_TEXT])._asdict()).encode()
        if len(text) > _BLOCK - 9:  # an error text whose characters need many bytes
            text = json.dumps(
                state._replace(error="see the log beside the spool")._asdict()
            ).encode()
        text = text.ljust(_BLOCK - 10) + b"\n"
        os.pwrite(self._fd, b"%08x %s" % (zlib.crc32(text), text), 0)
        self._last = state

    def close(self) -> None:
        """Let go of the file, and of the lock if it was taken."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def try_lock(self) -> bool:
        """Become the one sender of the spool; False if there is another.

        True without a lock on a file system that has none: two senders cost time, not correctness.
        """
        return try_lock(self._fd) is not False

    def is_current(self) -> bool:
        """Whether the file is still the one at its path, and was not removed with its spool."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False


def claim(spool: str) -> StateFile | None:
    """The state of a spool, locked for its sender; None if another sends it, or it is gone."""
    state = StateFile(spool + STATE)
    if state.try_lock() and state.is_current() and os.path.exists(spool):
        return state
    if not os.path.exists(spool) and state.is_current():
        os.unlink(state.path)
    state.close()
    return None
