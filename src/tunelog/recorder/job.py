"""The handle that a training holds.

What happens to the job when the training ends:

==============================================  =======================  ==========================
how it ends                                     status                   in its events
==============================================  =======================  ==========================
`finish()`, or the end of the `with` block      completed                -
the same after `should_stop` was seen to be     cancelled                -
true
an exception leaves the block, or ends the      error                    the exception's text
process
Ctrl-C (KeyboardInterrupt)                      cancelled                the exception's text
`sys.exit()` or `sys.exit(0)` in the block,     left to the next         that it exited without
`finish(None)`, the interpreter's end without   attempt                  `finish()`
`finish()`
killed, `os._exit`, power cut                   left to the next         that the process is gone
                                                attempt
==============================================  =======================  ==========================

After `update(status="completed")`, or another end, the job has ended already, and none of these
changes that, but for `finish("error")` and the like.
Of the command of a `tunelog run` none of this says how the job ended: its exit code does.

A job that is left is as it was, `running`; without a next attempt the service's rule for silent
jobs ends it. The interpreter's end alone is never taken for `completed`: a training that was asked
to make room saves its state and exits with 0, too, and has to find its job again. That an exception
ended the process is known from `sys.last_value`, which the interpreter sets when it prints one; in
an interactive session, where any mistake sets it, it is not looked at.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from tunelog.recorder.details import DETAILS, Identity, details, write_job_file
from tunelog.recorder.handover import Runner
from tunelog.recorder.losses import Losses, say
from tunelog.recorder.outbox import Outbox
from tunelog.recorder.records import attempt_record, clean, framed_record, plain
from tunelog.recorder.values import Lost, SnapshotEncoder, Unfit, whole

_LOOK_EVERY_NS = 5_000_000_000
_LEVELS = ("info", "warning", "error")
_ENDS = ("completed", "error", "cancelled", None)
_STATUSES = ("running", "compressing", "uploading", *_ENDS[:-1])
_DEFAULT_TYPE = {"info": "note", "warning": "warning", "error": "warning"}

Level = Literal["info", "warning", "error"]
End = Literal["completed", "error", "cancelled"]

_open: set[Recorder] = set()


class Recorder:
    """One training's job, as `tunelog.init` gave it.

    Its methods may be called from any thread, and return within microseconds; they neither raise
    nor wait for the service. What cannot be kept is counted, said once on stderr, and in the job's
    events. With `strict=True` they raise `InvalidRequest` or `OSError` instead. In a forked child,
    and on ranks that do not write, they do nothing.
    """

    def __init__(
        self,
        identity: Identity,
        token: str,
        outbox: Outbox | None,
        *,
        url: str,
        output_dir: str | None,
        writer: int = 0,
        open_id: str = "",
        runner: Runner | None = None,
        strict: bool = False,
        inactive: bool = False,
    ) -> None:
        """`outbox` is None where nothing can be recorded, with `inactive` without a word of it.

        `writer` is the number of this process among those that write into the attempt, `open_id`
        what that is opened under, if not the token, and `runner` the `tunelog run` whose command
        this process belongs to.
        """
        self._id = identity.job_id
        self._by_name = identity.by_name
        self._token = token
        self._open_id = open_id or token
        self._outbox = outbox
        self._write = self._refuse if outbox is None else outbox.put
        self._url = url.removesuffix("/v1")
        self._output_dir = output_dir
        self._writer = writer
        self._runner = runner
        self._strict = strict
        self._inactive = inactive
        self._was_forked = False
        self._ended = False
        self._said_end = False
        self._saw_stop = False
        self._ids = itertools.count()
        self._encoder = SnapshotEncoder(suffix=f"/rank{writer}" if writer else "")
        self._losses = Losses()
        self._untold = False
        self._look_at = time.time_ns() + _LOOK_EVERY_NS
        if outbox is not None:
            _open.add(self)

    # ------------------------------------------------------------ what it is

    @property
    def id(self) -> str:
        """The job's id.

        Another than asked for when `resume="auto"` met a completed job, once the service has said
        so. "" on a rank that does not write and was not told the job.
        """
        self._follow_id()
        return self._id

    @property
    def attempt(self) -> int | None:
        """The attempt's number, from 1; None until the service has given it."""
        return (self._outbox.state().attempt or None) if self._outbox else None

    @property
    def url(self) -> str:
        """Where the job can be read."""
        return f"{self._url}/v1/fine-tunes/{self.id}"

    @property
    def should_stop(self) -> bool:
        """Whether someone cancelled the job, so that the training should end after this step.

        The service's answer to a batch brings it; without batches it is asked for every 15 seconds.
        Always False on ranks that do not write: have rank 0 tell the others, or they wait for it.
        """
        stop = self._outbox is not None and self._outbox.state().stop
        self._saw_stop = self._saw_stop or stop
        return stop

    # ------------------------------------------------------------ recording

    def log(
        self,
        values: Mapping[str, Any],
        step: int | None = None,
        *,
        prefix: str = "train",
        logged_at: int | None = None,
    ) -> None:
        """Record a snapshot: the values of some metrics at one global_step.

        Args:
            values: names and numbers. A name without a slash is put under `prefix`.
            step: optimizer steps done, 0 or more. It has to be given; any order will do.
            prefix: "train", "eval", or a namespace of your own.
            logged_at: nanoseconds since the epoch; now, if not given.
        """
        if self._inactive:
            self._say_if_forked()
            return
        try:
            now = time.time_ns()
            at = now if logged_at is None else whole(logged_at, "logged_at")
            where = step if type(step) is int and 0 <= step < 2**63 else whole(step, "step")
            snapshot, refused = self._encoder.encode(values, prefix, where, at)
            if snapshot is not None:
                self._write(snapshot)
            if refused:
                self._lose_values(refused)
            if now >= self._look_at:
                self._look_after(now)
        except Exception as error:
            self._lose("log()", error)

    def event(
        self,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - Together's word
        level: Level = "info",
        step: int | None = None,
        **more: str | float | None,
    ) -> None:
        """Record something that happened, in words.

        Args:
            message: what happened.
            type: a lower-case word; "note", or "warning" above the level info, if not given.
            level: how bad it is.
            step: the global_step that it belongs to.
            more: what else Together's schema lets an event carry (`model_path`, `total_steps` …).
        """
        if self._inactive:
            return
        try:
            if level not in _LEVELS:
                raise Unfit(f"level {level!r}; info, warning or error is wanted")
            kind = _DEFAULT_TYPE[level] if type is None else type
            if not _is_event_type(kind):
                raise Unfit(f"type {kind!r}; a lower-case word is wanted")
            fields = {
                "id": self._new_id(),
                "type": kind,
                "message": clean(message),
                "level": level,
                "step": 0 if step is None else whole(step, "step"),
                "created_at": time.time_ns(),
                "details": plain(more),
            }
            self._write(framed_record("event", fields))
        except Exception as error:
            self._lose("event()", error)

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        step: int,
        checkpoint_type: str = "Intermediate",
        checkpoint: Literal["model", "adapter"] | None = None,
    ) -> None:
        """Record that a checkpoint was saved, with an event, and put the spool on stable storage.

        Args:
            path: where it lies.
            step: the global_step that it was saved at.
            checkpoint_type: a label; Together's are "Intermediate" and "Final".
            checkpoint: whether it is the whole model or an adapter.
        """
        if self._inactive:
            return
        try:
            where = clean(os.fspath(path))
            if checkpoint not in ("model", "adapter", None):
                raise Unfit(f"checkpoint {checkpoint!r}; model or adapter is wanted")
            fields = {
                "id": self._new_id(),
                "step": whole(step, "step"),
                "path": where,
                "checkpoint_type": clean(checkpoint_type),
                "checkpoint": checkpoint,
                "created_at": time.time_ns(),
            }
            self._write(framed_record("checkpoint", fields))
            self.event(f"Saved {where}", type="checkpoint_save", step=step, checkpoint_path=where)
            if self._outbox is not None:
                self._outbox.sync()
        except Exception as error:
            self._lose("checkpoint()", error)

    def update(
        self,
        *,
        status: Literal["running", "compressing", "uploading"] | End | None = None,
        seconds_remaining: float | None = None,
        **fields: Any,
    ) -> None:
        """Change what is known of the job.

        Args:
            status: what it does now; or how it ended, while this recorder stays open for what is
                logged late, such as an evaluation. `finish()` then closes it and changes no status.
            seconds_remaining: what truly remains until its end, from now.
            fields: any of a job's fields, `epochs_completed`, `model_output_name`, `total_steps` …;
                None clears one, and `hyperparameters` are merged by name.
        """
        if self._inactive:
            return
        try:
            changes: dict[str, Any] = {"at": time.time_ns()}
            status = None if status in _ENDS and self._is_run() else status  # the exit code says it
            if status is not None:
                if status not in _STATUSES:
                    raise Unfit(f"status {status!r}: one of {', '.join(_STATUSES)} is wanted")
                changes["status"] = status
            if seconds_remaining is not None:
                changes["seconds_remaining"] = max(0, round(seconds_remaining))
            unknown = fields.keys() - DETAILS
            known = {name: value for name, value in fields.items() if name in DETAILS}
            if known:
                changes["details"] = details(known)
            if len(changes) > 1:
                self._write(framed_record("update", changes))
            if status is not None:
                self._said_end = status in _ENDS
                self._keep_end(status)
            for name in sorted(unknown):
                self._lose(name, Unfit("a job has no such field", param=name))
        except Exception as error:
            self._lose("update()", error)

    def rewind(self, step: int) -> None:
        """Go back to an earlier step without leaving the process, as loops do that undo a spike.

        `step` will be run again: what was logged from it on is superseded, at once and also where
        it is never logged again. What is logged from here on belongs to the job's next attempt.
        """
        if self._inactive:
            return
        try:
            first = whole(step, "step")
            self.event(f"Rewound: step {first} is run again", type="job_restarted", step=first)
            open_id = self._new_id() if self._runner is None else self._runner.own(self._new_id())
            self._write(attempt_record(open_id, first, self._writer, rewinds=True))
        except Exception as error:
            self._lose("rewind()", error)

    # ------------------------------------------------------------ ending

    def finish(self, status: End | None = "completed", timeout: float = 10.0) -> bool:
        """End the recording, and wait for it to be sent.

        Args:
            status: how the job ended; None leaves it open for the next attempt.
            timeout: the most seconds to wait; the sender goes on with the rest by itself.

        Answers whether everything was acknowledged. A second call changes nothing.
        """
        if self._inactive or self._ended or self._outbox is None:
            self._ended = True
            _open.discard(self)
            return False
        if self._said_end and status == "completed":
            status = None
        if status == "completed" and self._saw_stop:
            status = "cancelled"
        if self._is_run() or (status != "error" and self._writer):
            status = None  # the exit code says it, or rank 0, unless it went wrong here
        try:
            self._write_end(status)
        except Exception as error:
            self._lose("finish()", error)
        finally:
            self._ended = True
            self._write = self._refuse
            _open.discard(self)
            sent = self._outbox.close(timeout)
        self._follow_id()
        self._keep_end(status)
        return sent

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self._finish_with(error)

    def _finish_with(self, error: BaseException | None) -> None:
        """End as the exception says that ended the training; None for an end without a word."""
        if self._ended or self._inactive:
            return
        if self._said_end:
            self.finish(None)
            return
        if isinstance(error, SystemExit) and not error.code:
            error = None
        if error is None and self._is_run():
            self.finish()
            return
        if error is None:
            words = "The training process exited without finish(): the job is left open."
            self.event(words, type="warning", level="warning")
            self.finish(None)
            return
        stopped = isinstance(error, KeyboardInterrupt)
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
        if stopped:
            self.event(words, type="warning", level="warning")
        else:
            self.event(words, type="job_error", level="error")
        self.finish("cancelled" if stopped else "error")

    def _write_end(self, status: str | None) -> None:
        assert self._outbox is not None
        if self._losses.total:
            self._tell_losses()
        if status not in _ENDS:
            self._lose("finish()", Unfit(f"status {status!r}: the job is left open"))
            status = None
        self._write(framed_record("finish", {"status": status, "at": time.time_ns()}))
        self._outbox.sync()

    def _keep_end(self, status: str | None) -> None:
        """Have the next training in the output directory know that this one is complete."""
        if status == "completed" and self._output_dir:
            write_job_file(self._output_dir, self._id, "completed")

    def _is_run(self) -> bool:
        """Whether a `tunelog run` watches this process, and tells how it ended."""
        return self._runner is not None and self._runner.lives()

    # ------------------------------------------------------------ inside

    def _refuse(self, _: bytes) -> None:
        """In place of writing a record."""
        if self._ended:
            raise Unfit("called after finish()")
        raise Unfit("nothing can be recorded, as init() said")

    def _lose_values(self, refused: Sequence[Lost]) -> None:
        for key, reason in refused:
            self._lose(key, Unfit(reason, param=key))

    def _lose(self, subject: str, error: Exception) -> None:
        """Count what could not be kept; say the first of a kind, also in the job's events."""
        if self._strict:
            raise error
        reason = error.message if isinstance(error, Unfit) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:200]
        told = self._losses.count(subject, reason)
        self._untold = self._untold or isinstance(error, OSError)
        can_tell = self._outbox is not None and not self._ended and subject != "event()"
        if told and can_tell and not isinstance(error, OSError):
            words = f"{subject[:100]!r} was not recorded: {reason}."
            self.event(words, type="warning", level="warning")

    def _look_after(self, now: int) -> None:
        self._look_at = now + _LOOK_EVERY_NS
        if self._outbox is not None:
            self._outbox.look_after()
            self._follow_id()
        if self._untold:
            self._tell_losses()

    def _tell_losses(self) -> None:
        """Have the job's events say what a disk did not take, once it takes something again."""
        before = self._losses.total
        self.event(self._losses.summary(), type="warning", level="warning")
        self._untold = self._losses.total > before

    def _follow_id(self) -> None:
        """Take over the id of the job that the sender entered in place of the one asked for."""
        if self._outbox is None or self._inactive:
            return
        sent_to = self._outbox.state().job_id
        if sent_to and sent_to != self._id:
            if self._by_name:
                say(f"this training is job {sent_to}, the newest of its name")
            else:
                say(f"job {self._id} had ended; this training is job {sent_to}")
            self._id = sent_to
            if self._output_dir:
                write_job_file(self._output_dir, sent_to)

    def _new_id(self) -> str:
        return f"{self._token}:{next(self._ids)}"

    def _say_if_forked(self) -> None:
        if self._was_forked:
            self._was_forked = False
            say(f"process {os.getpid()} was forked from the one that records; nothing is kept here")

    def _disown(self) -> None:
        self._inactive = self._was_forked = True
        if self._outbox is not None:
            self._outbox.disown()


def _is_event_type(word: str) -> bool:
    plain_word = word.isascii() and word.replace("_", "a").isalnum() and word == word.lower()
    return plain_word and len(word) <= 64 and word[0].isalpha()


def _in_forked_child() -> None:
    for recorder in list(_open):
        recorder._disown()
    _open.clear()


def _at_exit() -> None:
    interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    error = None if interactive else getattr(sys, "last_value", None)
    for recorder in list(_open):
        recorder._finish_with(error)


os.register_at_fork(after_in_child=_in_forked_child)
atexit.register(_at_exit)
