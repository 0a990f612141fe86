"""Sends what one spool holds to a store, and keeps track of what is acknowledged.

Whatever is sent can be sent again: jobs, attempts, events and checkpoints carry ids, snapshots
their sequence numbers. So a part of the spool is acknowledged when all of it was taken, and sent
again as a whole when not.

What the service refuses for its content is set aside in a file beside the spool, with the reason,
and told as a warning event; the rest goes on. So that a service that refuses everything (a proxy,
an older version) does not empty a spool that way, content counts as refused only while the service
takes an empty batch.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from tunelog.errors import Conflict, InvalidRequest, LimitExceeded
from tunelog.model import ENDED, Batch, Event, JobChanges, Level, Status
from tunelog.recorder.handover import remove_offers
from tunelog.recorder.losses import say
from tunelog.recorder.spool import LOG, REJECTED, Frame, SpoolReader, parse_name
from tunelog.recorder.state import State, StateFile
from tunelog.sender.opening import is_newest, open_attempt
from tunelog.sender.parts import Other, Part, PartReader, Row, read_part, runs
from tunelog.sender.records import (
    AttemptRecord,
    CheckpointRecord,
    EventRecord,
    FinishRecord,
    JobRecord,
    Record,
    UpdateRecord,
    readable,
)
from tunelog.store import Store

Refused = list[tuple[Frame, str]]
"""What the service did not take, and why."""


class Drain:
    """The sending of one spool.

    Attributes:
        spool: its path.
        state: how far it is.
        heard: whether the service said how the job stands; for the owner to reset.
    """

    def __init__(
        self,
        spool: str,
        store: Store,
        state_file: StateFile,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is sent yet. `clock` tells nanoseconds since the epoch.

        Raises `StoreUnusable` if the file is not a spool, and `OSError`.
        """
        self.spool = spool
        self.state = state_file.read()
        self._store = store
        self._state_file = state_file
        self._clock = clock
        job_id, self._token = parse_name(spool) or ("", "")
        self._job = JobRecord(job_id, job_id, "must", {"model": "unknown"})
        self._attempt = AttemptRecord(open_id=self._token, at=clock())
        self._read_head()
        if self.state.acknowledged > os.path.getsize(spool):
            self.state = State()  # the state of another file than this
        self._parts = PartReader(spool, self.state.acknowledged)
        self.heard = False
        self._part: Part | None = None

    @property
    def finished(self) -> bool:
        """Whether the record that ends the spool was acknowledged."""
        return self.state.done

    @property
    def host(self) -> str:
        """The name of the machine that the attempt was trained on."""
        return self._attempt.host

    def close(self) -> None:
        """Let go of the spool."""
        self._parts.close()

    def send(self) -> bool:
        """Send the next part of the spool; False if there is nothing more at present.

        Raises what the store raises. Nothing of the part is acknowledged then, and the next call
        sends it again.
        """
        if self._part is None:
            self._part = self._parts.next()
        part = self._part
        if part is None:
            return False
        refused, opened = self._deliver(part)
        self._part = None
        # In one write: were the attempt known before its part is acknowledged, a crash between the
        # two would have the earlier attempt's snapshots sent again as the new one's.
        self._save(
            **opened,
            acknowledged=part.end,
            stored=self.state.stored + len(part.rows),
            rejected=self.state.rejected + len(refused),
            damaged=self.state.damaged + len(part.damages),
            done=self.state.done or part.ends_spool,
            blocked=False,
            error="",
        )
        return True

    def beat(self) -> None:
        """Give a sign of life, and hear whether the training is to stop."""
        if self.state.attempt:
            self._hear(self._store.append(self.state.job_id, self._batch([])).status)
            if self.state.error:
                self._save(error="", blocked=False)

    def end(self) -> None:
        """Tell if the writer went without a word; then remove the spool and what belongs to it.

        For when nothing is left to send and no more will come.
        """
        if not self.finished and self.state.attempt:
            host = f" on {self._attempt.host}" if self._attempt.host else ""
            self._tell(
                "gone",
                f"The training process {self._attempt.pid}{host} went without finish(); "
                "the job is left to its next attempt.",
            )
        self._save(done=True)
        for path in (self.spool, self.spool + LOG, self._state_file.path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        remove_offers(os.path.dirname(self.spool), self._job.id, self._token)

    def fail(self, error: str, *, blocked: bool) -> None:
        """Have the recorder know why nothing is sent at the moment."""
        self._save(error=error, blocked=blocked)

    # ------------------------------------------------------------ a part

    def _deliver(self, part: Part) -> tuple[Refused, dict[str, Any]]:
        """Send a part. Answers what was refused, and what its last record changes of the state."""
        if not self.state.attempt and not part.only_begins:
            # The record that should have come first was damaged.
            self._save(**self._begin(self._attempt))
        refused: Refused = [(frame, "unknown to this version") for frame in part.unknown]
        for run in runs(part.rows):
            refused += self._append(run)
        refused += self._send_others(part.others)
        if refused:
            self._set_aside(refused)
        for damage in part.damages:
            length = damage.end - damage.start
            self._tell(
                f"damage:{damage.start}",
                f"{length} bytes at {damage.start} of {os.path.basename(self.spool)} are damaged "
                "and were skipped.",
            )
        return refused, self._begin(part.attempt) if part.attempt else {}

    def _append(self, rows: Sequence[Row]) -> Refused:
        """Send rows as one batch; if it is refused, find those to blame by halving."""
        try:
            self._hear(self._store.append(self.state.job_id, self._batch(rows)).status)
        except InvalidRequest as error:
            if isinstance(error, LimitExceeded):
                self._parts.shrink(len(rows))
            self._blame_content(error)
            if len(rows) == 1:
                return [(rows[0].frame, error.message)]
            half = len(rows) // 2
            return self._append(rows[:half]) + self._append(rows[half:])
        return []

    def _send_others(self, others: Sequence[Other]) -> Refused:
        refused: Refused = []
        for other in _merged(others):
            try:
                self._send_record(other.record)
            except (InvalidRequest, Conflict) as error:
                self._blame_content(error)
                refused.append((other.frame, error.message))
        return refused

    def _send_record(self, record: Record) -> None:
        job_id = self.state.job_id
        if isinstance(record, EventRecord):
            self._store.add_event(job_id, record.event())
        elif isinstance(record, CheckpointRecord):
            self._store.add_checkpoint(job_id, record.saved())
        elif isinstance(record, UpdateRecord):
            self._update(record.changes(self._clock()))
        elif isinstance(record, FinishRecord) and record.status is not None:
            self._update(JobChanges(status=record.status))

    def _update(self, changes: JobChanges) -> None:
        """Change the job; an older attempt does not say how it stands with a newer one.

        Neither does one that still trained, when it is only now heard of, of a job that has ended
        since: its attempt's other process may have said so (`tunelog run`).
        """
        job_id, status = self.state.job_id, changes.status
        more = replace(changes, status=UNSET)
        if status is UNSET or status in ENDED:
            may_say = status is UNSET or self._is_newest()
        else:
            job = self._store.update_job(job_id, more)
            may_say = not job.ended and self._is_newest()
        self._hear(self._store.update_job(job_id, changes if may_say else more).status)

    def _is_newest(self) -> bool:
        return is_newest(self._store, self.state.job_id, self.state.attempt, self._token)

    # ------------------------------------------------------------ the beginning

    def _read_head(self) -> None:
        """Learn whose spool it is, also when sending stopped long after that was said."""
        reader = SpoolReader(self.spool)
        head = read_part(reader)
        reader.close()
        for record in head.records if head else ():
            if isinstance(record, JobRecord):
                self._job = record
            elif isinstance(record, AttemptRecord):
                self._attempt = record

    def _begin(self, attempt: AttemptRecord) -> dict[str, Any]:
        """Open an attempt. Answers what it changes of the state."""
        opened = open_attempt(self._store, self._job, attempt, self._token, self.state.job_id)
        self._attempt = attempt
        for name, words in opened.notes.items():
            self._tell(name, words, job_id=opened.job_id)
        if not attempt.rewinds:
            self._tell(
                f"start:{attempt.writer}",
                f"Process {attempt.pid} on {attempt.host or 'an unknown host'} began to train.",
                job_id=opened.job_id,
                token=attempt.open_id,
                type="training_start",
                level="info",
            )
        return {"job_id": opened.job_id, "attempt": opened.attempt}

    # ------------------------------------------------------------ answers

    def _batch(self, rows: Sequence[Row]) -> Batch:
        return Batch(
            snapshots=[row.snapshot for row in rows],
            attempt=self.state.attempt,
            writer=self._attempt.writer,
            first_seq=rows[0].seq if rows else None,
        )

    def _hear(self, status: Status) -> None:
        self.heard = True
        if status in ("cancel_requested", "cancelled") and not self.state.stop:
            self._save(stop=True)

    def _blame_content(self, error: InvalidRequest | Conflict) -> None:
        """Return if a refusal is about what was sent; raise it if nothing would be taken."""
        try:
            self._store.append(self.state.job_id, self._batch([]))
        except InvalidRequest:
            raise error from None

    def _set_aside(self, refused: Refused) -> None:
        path = self.spool + REJECTED
        lines = [
            json.dumps({"reason": reason, "record": readable(frame.payload)})
            for frame, reason in refused
        ]
        with open(path, "a+", encoding="utf-8") as file:
            file.seek(0)
            known = set(file.read().splitlines())  # of a try that failed after this
            file.writelines(f"{line}\n" for line in lines if line not in known)
        frame, reason = refused[0]
        say(f"{len(refused)} records were refused, the first at {frame.start}: {reason}")
        self._tell(
            f"refused:{frame.start}",
            f"{len(refused)} records were refused and set aside in {os.path.basename(path)}; "
            f"the first: {reason}",
        )

    def _tell(
        self,
        name: str,
        message: str,
        *,
        job_id: str | None = None,
        token: str | None = None,
        type: str = "warning",  # noqa: A002 - Together's word
        level: Level = "warning",
    ) -> None:
        """An event of the sender's own, stored once however often it is told."""
        event = Event(
            id=f"{token or self._token}:{name}",
            type=type,
            message=message,
            level=level,
            created_at=self._clock(),
        )
        with contextlib.suppress(InvalidRequest):
            self._store.add_event(job_id or self.state.job_id, event)

    def _save(self, **changes: Any) -> None:
        self.state = self.state._replace(**changes)
        try:
            self._state_file.write(self.state)
        except OSError as error:
            say(f"{self._state_file.path}: {error}")


def _merged(others: Sequence[Other]) -> list[Other]:
    """The same, with changes of the job that follow one another in one."""
    merged: list[Other] = []
    last: int | None = None  # where in `merged` the last change without a status is
    for other in others:
        record = other.record
        if not isinstance(record, UpdateRecord) or record.status is not UNSET:
            merged.append(other)
        elif last is None:
            last = len(merged)
            merged.append(other)
        else:
            before = merged[last].record
            assert isinstance(before, UpdateRecord)
            merged[last] = Other(other.frame, before.merged(record))
    return merged
