"""An attempt that `tunelog run` has opened, and that its command goes on with.

`run` records the job from outside: its output, its end. A command that records itself, too, should
not become the second attempt of a first run. So `run` opens the attempt under an id and passes that
on in TUNELOG_ATTEMPT_ID, beside TUNELOG_JOB_ID and TUNELOG_SPOOL; and puts a file named after it,
the offer, into the spool directory. The first `init` of the command takes the offer by renaming the
file, which succeeds once: its attempt is opened under the same id, so it is the same. Every other
`init` has an attempt of its own, under an id that begins with the offered one: so `run` knows that
it is its command's, and may tell its end.

While `run` lives it alone says how the job ended, from the command's exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tunelog.recorder.losses import say
from tunelog.recorder.spool import spool_path, writer_lives

if TYPE_CHECKING:
    from tunelog.recorder.job import Recorder

ATTEMPT_ID = "TUNELOG_ATTEMPT_ID"

_SUFFIX = ".attempt"
_ID_CHARACTERS = frozenset("0123456789abcdef.")


class Runner:
    """`tunelog run`, as a recorder in its command sees it.

    Attributes:
        claimed: whether this process goes on with the attempt that `run` has opened.
        stated: names of the details that the command line of `run` stated.
    """

    def __init__(self, folder: str, job_id: str, offered: str) -> None:
        """`offered` is what `run` opened the attempt of the job under, `folder` has its spool."""
        self.claimed = False
        self.stated: Collection[str] = ()
        self._offered = offered
        self._offer = _offer_path(folder, job_id, offered)
        self._spool = spool_path(folder, job_id, offered.rpartition(".")[2])

    def open_id(self, key: str) -> str:
        """What an attempt is opened under: the attempt of `run`, if nobody took it before.

        `key` stands for the attempt; all that write into it, and nobody else, ask with the same.
        """
        stated = _claim(self._offer, key)
        if stated is None:
            return self.own(key)
        self.claimed, self.stated = True, stated
        return self._offered

    def own(self, key: str) -> str:
        """What an attempt of the command is opened under that is not the one of `run`."""
        return f"{self._offered}.{key}"

    def corrections(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """What a training knows better of its job than the `run` that made it."""
        return {name: details[name] for name in details.keys() - set(self.stated)}

    def lives(self) -> bool:
        """Whether `run` is still there to tell the end."""
        try:
            return writer_lives(self._spool) is True
        except OSError:
            return False


def find_runner(job_id: str) -> Runner | None:
    """The `tunelog run` that this process belongs to, if it records the same job."""
    offered, folder = os.environ.get(ATTEMPT_ID, ""), os.environ.get("TUNELOG_SPOOL")
    if not (offered and folder and _ID_CHARACTERS.issuperset(offered)):
        return None
    if os.environ.get("TUNELOG_JOB_ID") != job_id:
        return None
    return Runner(folder, job_id, offered)


def offer(recorder: Recorder, stated: Collection[str]) -> dict[str, str]:
    """Let the first `init` of a command go on with this recorder's attempt.

    `stated` are names of the job's details that stay as they are, whatever that `init` says.
    Answers the variables for the command.
    """
    outbox, job_id = recorder._outbox, recorder._id
    if outbox is None:  # nothing is recorded here, as `init` said; the command may fare better
        return {"TUNELOG_JOB_ID": job_id}
    folder = os.path.dirname(outbox.path)
    path = _offer_path(folder, job_id, recorder._open_id)
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(sorted(stated), file)
    except OSError as error:
        say(f"{path}: {error}; a command that records itself begins an attempt of its own")
    return {
        "TUNELOG_JOB_ID": job_id,
        "TUNELOG_SPOOL": folder,
        ATTEMPT_ID: recorder._open_id,
    }


def withdraw(recorder: Recorder) -> None:
    """Let nobody go on with this recorder's attempt any more."""
    if recorder._outbox is not None:
        folder = os.path.dirname(recorder._outbox.path)
        remove_offers(folder, recorder._id, recorder._open_id)


def is_entered(recorder: Recorder) -> bool:
    """Whether the service knows the attempt, or it is known that it cannot be told now."""
    if recorder._outbox is None or not recorder._outbox.sends:
        return True
    state = recorder._outbox.state()
    return bool(state.attempt or state.error)


def look_after(recorder: Recorder) -> None:
    """See to it that a sender runs, as `log()` does for who logs."""
    now = time.time_ns()
    if now >= recorder._look_at:
        recorder._look_after(now)


def remove_offers(folder: str, job_id: str, open_id: str) -> None:
    """Remove what was offered under this id, whether it was taken or not."""
    name = os.path.basename(_offer_path(folder, job_id, open_id))
    with contextlib.suppress(OSError):
        for found in os.listdir(folder):
            if found == name or found.startswith(f"{name}."):
                os.unlink(os.path.join(folder, found))


def _claim(path: str, key: str) -> Collection[str] | None:
    """Take an offer; what it says, or None if there is none any more."""
    taken = f"{path}.{key}"
    try:
        os.rename(path, taken)
    except OSError:
        if not os.path.exists(taken):
            return None
    try:
        with open(taken, encoding="utf-8") as file:
            return [str(name) for name in json.load(file)]
    except (OSError, ValueError, TypeError):
        return ()


def _offer_path(folder: str, job_id: str, open_id: str) -> str:
    return os.path.join(folder, f"{job_id}.{open_id}{_SUFFIX}")
