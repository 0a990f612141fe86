"""Sync: one pass over all that lies in a spool directory."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from tests.recording import only_spool
from tests.sender.sending import Troubled, always, begin, record, rows
from tunelog.backends.memory import MemoryStore
from tunelog.errors import Forbidden, StoreUnavailable
from tunelog.recorder.state import claim
from tunelog.sender import sync
from tunelog.store import Store


def test_sync_of_an_empty_directory_asks_nobody(spool: Path) -> None:
    spool.mkdir()

    def nobody() -> Store:
        raise AssertionError("nothing is to be sent")

    report = sync(spool, nobody)
    assert (report.sent, report.open, report.left) == ((), (), ())


def test_sync_sends_what_a_running_training_has_logged(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    path = only_spool(spool)
    for _ in range(2):
        report = sync(spool, lambda: store)
        assert (report.sent, report.open, report.snapshots) == ((), (str(path),), 1)
    job.finish()
    assert sync(spool, lambda: store).sent == (str(path),)


def test_a_spool_of_version_1_is_sent_bit_for_bit(spool: Path, store: MemoryStore) -> None:
    path = spool / f"ft-old.{'0' * 32}.spool"
    spool.mkdir()
    path.write_bytes(Path(__file__).with_name("version-1.spool").read_bytes())
    assert sync(spool, lambda: store).sent == (str(path),)
    assert rows(store, "ft-old") == [
        {"timestamp": 10, "train/global_step": 1, "train/loss": 0.1, "train/tokens": 2**60},
        {"timestamp": 20, "train/global_step": 2, "train/loss": "NaN", "train/lr": "-Infinity"},
        {"timestamp": 30, "train/global_step": 3, "train/loss": "NaN", "train/lr": 1e-300},
        {"timestamp": 40, "train/global_step": 3, "eval/loss": 5},
    ]
    assert store.job("ft-old").status == "completed"


def test_sync_leaves_what_it_cannot_send_with_a_reason(spool: Path, store: MemoryStore) -> None:
    paths = []
    for job_id in ("ft-1", "ft-1", "ft-2", "ft-3"):
        record(spool, job_id=job_id)
        paths.append(max(spool.glob("*.spool"), key=lambda path: path.name.split(".")[1]))
    busy = claim(str(paths[0]))
    assert busy is not None
    paths[2].write_bytes(b"something else\n")
    report = sync(spool, lambda: store)
    assert report.sent == (str(paths[3]),)
    assert dict(report.left) == {
        str(paths[0]): "another sender is at it",
        str(paths[1]): f"after {paths[0].name}, which is left",
        str(paths[2]): f"{paths[2]} is not a spool of tunelog",
    }
    busy.close()


def test_sync_stops_when_the_service_is_away(spool: Path, store: MemoryStore) -> None:
    record(spool, job_id="ft-1")
    record(spool, job_id="ft-2")
    troubled = Troubled(store)
    troubled.before = always(StoreUnavailable("away"))
    report = sync(spool, lambda: troubled.as_store)
    assert [reason for _, reason in report.left] == ["away", "away"]
    assert len(troubled.calls) == 1
    assert len(sync(spool, lambda: store).sent) == 2


def test_sync_goes_on_after_a_spool_of_another_project(spool: Path, store: MemoryStore) -> None:
    record(spool, job_id="ft-1")
    record(spool, job_id="ft-2")
    troubled = Troubled(store)

    def refuse(name: str, args: Any) -> None:
        if "ft-1" in args:
            raise Forbidden("not yours")

    troubled.before = refuse
    report = sync(spool, lambda: troubled.as_store)
    assert [reason for _, reason in report.left] == ["not yours"]
    assert len(report.sent) == 1


def test_without_file_locks_a_spool_stays_until_its_training_has_finished(
    spool: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    job = begin(spool)
    job.log({"loss": 1.0}, 1)
    path = only_spool(spool)
    assert sync(spool, lambda: store).open == (str(path),)
    job.finish()
    assert sync(spool, lambda: store).sent == (str(path),)
    assert len(rows(store, job.id)) == 1
