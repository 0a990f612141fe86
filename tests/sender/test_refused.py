"""What is refused or damaged is set aside and told, and the rest arrives."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.recording import only_spool
from tests.sender.sending import Troubled, always, begin, drain, record, rows, warnings
from tunelog.backends.memory import MemoryStore
from tunelog.errors import InvalidRequest, StoreUnavailable
from tunelog.recorder.records import framed_record
from tunelog.recorder.spool import REJECTED


def refusing(store: MemoryStore, *steps: int) -> Troubled:
    """A store that refuses snapshots of some steps, as a service refuses rows."""

    def refuse(name: str, args: Any) -> None:
        if name == "append":
            for index, snapshot in enumerate(args[1].snapshots):
                if snapshot.global_step in steps:
                    raise InvalidRequest(f"row {index}: too ugly")

    troubled = Troubled(store)
    troubled.before = refuse
    return troubled


@pytest.mark.parametrize("bad", [(0,), (99,), (3, 4, 57), tuple(range(100))])
def test_refused_snapshots_are_set_aside_and_the_others_arrive(
    spool: Path, store: MemoryStore, bad: tuple[int, ...]
) -> None:
    job = begin(spool)
    for step in range(100):
        job.log({"loss": 1.0}, step)
    job.finish()
    path = only_spool(spool)
    sent = drain(path, refusing(store, *bad).as_store)
    arrived = [row["train/global_step"] for row in rows(store, job.id)] if len(bad) < 100 else []
    assert arrived == [step for step in range(100) if step not in bad]
    assert sent.state.rejected == len(bad)
    aside = [json.loads(line) for line in Path(f"{path}{REJECTED}").read_text().splitlines()]
    assert [entry["record"]["step"] for entry in aside] == list(bad)
    assert {entry["reason"] for entry in aside} == {"row 0: too ugly"}
    (told,) = warnings(store, job.id)
    assert told.startswith(f"{len(bad)} records were refused and set aside in {path.name}.rejected")
    assert [file.name for file in spool.iterdir()] == [f"{path.name}{REJECTED}"]


def test_a_service_that_refuses_everything_empties_no_spool(
    spool: Path, store: MemoryStore
) -> None:
    job = begin(spool)
    path = only_spool(spool)
    job.log({"loss": 1.0}, 1)
    drain(path, store)
    job.log({"loss": 1.0}, 2)
    job.event("hello")
    troubled = Troubled(store)

    def refuse(name: str, args: Any) -> None:
        raise InvalidRequest("the service answered 400")

    troubled.before = refuse
    with pytest.raises(InvalidRequest):
        drain(path, troubled.as_store)
    assert not Path(f"{path}{REJECTED}").exists()
    job.finish()
    drain(path, store)
    assert [row["train/global_step"] for row in rows(store, job.id)] == [1, 2]
    assert warnings(store, job.id) == []


def test_a_service_that_does_not_take_the_job_keeps_it_in_the_spool(
    spool: Path, store: MemoryStore
) -> None:
    record(spool)
    troubled = Troubled(store)
    troubled.before = always(InvalidRequest("model: we do not like it"))
    with pytest.raises(InvalidRequest, match="we do not like it"):
        drain(only_spool(spool), troubled.as_store)
    assert troubled.calls == ["create_job"]
    assert only_spool(spool).exists()


def test_a_refused_event_or_change_is_set_aside(spool: Path, store: MemoryStore) -> None:
    def refuse(name: str, args: Any) -> None:
        if name == "add_event" and args[1].message == "ugly":
            raise InvalidRequest("message: too ugly")
        if name == "update_job" and "n_epochs" in args[1].details:
            raise InvalidRequest("n_epochs: expected int")

    troubled = Troubled(store)
    troubled.before = refuse
    job = begin(spool)
    job.event("ugly")
    job.event("fine")
    job.update(n_epochs="many")
    job.log({"loss": 1.0}, 1)
    job.finish()
    path = only_spool(spool)
    drain(path, troubled.as_store)
    messages = [event.message for event in store.events(job.id)]
    assert "fine" in messages
    assert "ugly" not in messages
    aside = [json.loads(line) for line in Path(f"{path}{REJECTED}").read_text().splitlines()]
    assert [entry["reason"] for entry in aside] == ["message: too ugly", "n_epochs: expected int"]
    assert store.job(job.id).status == "completed"
    assert len(rows(store, job.id)) == 1


def test_details_that_do_not_fit_are_left_out_and_told(spool: Path, store: MemoryStore) -> None:
    job = record(spool, n_epochs="three", learning_rate=1e-5)
    drain(only_spool(spool), store)
    details = store.job(job.id).details
    assert (details.n_epochs, details.learning_rate) == (None, 1e-5)
    (told,) = warnings(store, job.id)
    assert "n_epochs: Expected `int | null`, got `str`" in told


def test_damage_is_told_and_the_rest_goes_on(spool: Path, store: MemoryStore) -> None:
    job = record(spool)
    path = only_spool(spool)
    whole = path.read_bytes()
    snapshots = [at.start() for at in re.finditer(b'{"record":"packed"', whole)]
    at = snapshots[2]
    path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
    sent = drain(path, store)
    steps = [row["train/global_step"] for row in rows(store, job.id)]
    assert steps == [0, 1, 3, 4, 4]
    assert sent.state.damaged == 1
    (told,) = warnings(store, job.id)
    assert "are damaged and were skipped" in told
    assert store.job(job.id).status == "completed"


def test_a_spool_whose_beginning_is_damaged_is_known_by_its_name(
    spool: Path, store: MemoryStore
) -> None:
    record(spool, job_id="ft-1")
    path = only_spool(spool)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"record":"job"', b'{"record":"joke"').replace(b"pid", b"pit"))
    drain(path, store)
    assert len(rows(store, "ft-1")) == 6
    assert store.job("ft-1").details.model == "unknown"
    assert store.job("ft-1").status == "completed"


def test_records_of_a_newer_version_are_set_aside(spool: Path, store: MemoryStore) -> None:
    job = begin(spool)
    path = only_spool(spool)
    values = {"train/loss": "VeryLarge"}
    with open(path, "ab") as file:
        file.write(framed_record("hologram", {"x": 1}))
        fields = {"seq": 0, "step": 1, "logged_at": 1, "values": values}
        file.write(framed_record("snapshot", fields))
    job.log({"loss": 1.0}, 1)
    job.finish()
    drain(path, store)
    assert len(rows(store, job.id)) == 1
    aside = Path(f"{path}{REJECTED}").read_text().splitlines()
    assert [json.loads(line)["record"]["record"] for line in aside] == ["hologram", "snapshot"]


def test_what_is_refused_again_after_a_failure_is_set_aside_once(
    spool: Path, store: MemoryStore
) -> None:
    job = record(spool, status=None)
    path = only_spool(spool)
    troubled = refusing(store, 2)
    refuse = troubled.before

    def refuse_and_go_away(name: str, args: Any) -> None:
        refuse(name, args)
        if name == "add_event" and "set aside" in args[1].message:
            raise StoreUnavailable("away")

    troubled.before = refuse_and_go_away
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            drain(path, troubled.as_store)
    troubled.before = refuse
    drain(path, troubled.as_store)
    assert len(Path(f"{path}{REJECTED}").read_text().splitlines()) == 1
    assert len(warnings(store, job.id)) == 1


@pytest.mark.parametrize("floats", [None, "", "AAAA", "AAAAAAAAAAA=AAAA"])
def test_a_snapshot_whose_floats_are_not_as_many_as_its_nulls_is_set_aside(
    spool: Path, store: MemoryStore, floats: str | None
) -> None:
    job = record(spool, status=None)
    path = only_spool(spool)
    fields = {"seq": 99, "step": 1, "logged_at": 1, "values": {"train/loss": None}}
    given = {} if floats is None else {"floats": floats}
    with open(path, "ab") as file:
        file.write(framed_record("snapshot", {**fields, **given}))
    drain(path, store)
    (aside,) = Path(f"{path}{REJECTED}").read_text().splitlines()
    assert json.loads(aside)["record"] == {"record": "snapshot", **fields, **given}
    assert len(rows(store, job.id)) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"names": []},
        {"types": "dd"},
        {"types": "s"},
        {"packed": "AAAA"},
        {"packed": "="},
    ],
)
def test_a_packed_snapshot_that_makes_no_sense_is_set_aside(
    spool: Path, store: MemoryStore, changed: dict[str, Any]
) -> None:
    job = record(spool, status=None)
    path = only_spool(spool)
    packed = base64.b64encode(bytes(32)).decode()
    fields = {"names": ["train/loss"], "types": "d", "packed": packed, **changed}
    with open(path, "ab") as file:
        file.write(framed_record("packed", fields))
    drain(path, store)
    (aside,) = Path(f"{path}{REJECTED}").read_text().splitlines()
    assert json.loads(aside)["record"] == {"record": "packed", **fields}
    assert len(rows(store, job.id)) == 6
