"""Sending what is left in a directory of spools: during a run, after a crash, from any machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import msgspec
from msgspec import Struct

from tunelog.errors import StoreError, StoreUnusable, TunelogError
from tunelog.recorder.spool import list_spools, parse_name, writer_lives
from tunelog.recorder.state import claim
from tunelog.sender.drain import Drain
from tunelog.store import Store

BUSY = "another sender is at it"
"""Why a spool is left that is being sent already."""


class SyncReport(Struct, frozen=True, kw_only=True):
    """What became of the spools in a directory.

    Attributes:
        sent: those that were sent to their ends and removed.
        open: those sent as far as they go, whose trainings still run.
        left: those that could not be sent, each with the reason.
        snapshots: snapshots acknowledged, over all of them, also before.
        rejected: records that the service refused, set aside beside their spools.
        damaged: parts of spools that could not be read.
    """

    sent: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    snapshots: int = 0
    rejected: int = 0
    damaged: int = 0


def sync(
    directory: str | os.PathLike[str],
    store_factory: Callable[[], Store],
    sent: Callable[[int], None] = lambda size: None,
) -> SyncReport:
    """Send every spool in a directory, oldest first, each once and without waiting.

    `store_factory` is called if there is anything to send, `sent` after each part, with its size in
    bytes. A spool that cannot be sent is left for
    the next call, and so are later ones of its job, whose attempts come after it; if the service is
    away, all that come after it. Raises `OSError` if the directory cannot be read.
    """
    report = SyncReport()
    store: Store | None = None
    away = ""
    for path in list_spools(os.fspath(directory)):
        reason = away or _must_wait(path, report)
        if reason:
            report = _left(report, path, reason)
            continue
        try:
            store = store or store_factory()
            report = _sync_one(report, path, store, sent)
        except StoreUnusable as error:
            report = _left(report, path, error.message)
        except StoreError as error:
            away = error.message
            report = _left(report, path, away)
        except TunelogError as error:
            report = _left(report, path, error.message)
        except OSError as error:
            report = _left(report, path, str(error))
    return report


def _sync_one(
    report: SyncReport, path: str, store: Store, sent: Callable[[int], None]
) -> SyncReport:
    state = claim(path)
    if state is None:
        return _left(report, path, BUSY)
    with contextlib.closing(state), contextlib.closing(Drain(path, store, state)) as drain:
        gone = writer_lives(path) is False
        at = drain.state.acknowledged
        while drain.send():
            sent(drain.state.acknowledged - at)
            at = drain.state.acknowledged
        ends = gone or drain.finished
        if ends:
            drain.end()
        return _add(report, path, drain, ends)


def _must_wait(path: str, report: SyncReport) -> str:
    """Why a spool cannot be sent before others, "" if it can."""
    named = parse_name(path)
    for other, _ in report.left:
        other_named = parse_name(other)
        if named and other_named and named[0] == other_named[0]:
            return f"after {os.path.basename(other)}, which is left"
    return ""


def _add(report: SyncReport, path: str, drain: Drain, ends: bool) -> SyncReport:
    return SyncReport(
        sent=(*report.sent, path) if ends else report.sent,
        open=report.open if ends else (*report.open, path),
        left=report.left,
        snapshots=report.snapshots + drain.state.stored,
        rejected=report.rejected + drain.state.rejected,
        damaged=report.damaged + drain.state.damaged,
    )


def _left(report: SyncReport, path: str, reason: str) -> SyncReport:
    return msgspec.structs.replace(report, left=(*report.left, (path, reason)))
