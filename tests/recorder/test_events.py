"""Events, checkpoints and updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import tunelog
from tests.recorder.recorded import Init, events
from tests.recording import only_spool, records


def test_an_event_has_an_id_and_a_type(init: Init, spool: Path) -> None:
    job = init()
    job.event("Warming up", step=3)
    job.event("Too hot", level="error")
    job.event("Epoch 1 is done", type="epoch_complete", total_steps=100)
    first, second, third = records(only_spool(spool), "event")
    assert (first["type"], first["message"], first["level"], first["step"]) == (
        "note",
        "Warming up",
        "info",
        3,
    )
    assert (second["type"], second["level"]) == ("warning", "error")
    assert (third["type"], third["details"]) == ("epoch_complete", {"total_steps": 100})
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_a_checkpoint_is_recorded_with_its_event(init: Init, spool: Path) -> None:
    init().checkpoint(Path("out/checkpoint-20"), step=20, checkpoint="adapter")
    (checkpoint,) = records(only_spool(spool), "checkpoint")
    (event,) = records(only_spool(spool), "event")
    assert (checkpoint["path"], checkpoint["step"], checkpoint["checkpoint"]) == (
        "out/checkpoint-20",
        20,
        "adapter",
    )
    assert (event["type"], event["step"], event["details"]) == (
        "checkpoint_save",
        20,
        {"checkpoint_path": "out/checkpoint-20"},
    )


def test_an_update_has_what_changes(init: Init, spool: Path) -> None:
    job = init()
    job.update(seconds_remaining=12.6, epochs_completed=1)
    job.update(status="uploading", hyperparameters={"a": {"b": 1}})
    job.update()
    found = [
        {k: v for k, v in r.items() if k != "at"} for r in records(only_spool(spool), "update")
    ]
    assert found == [
        {"record": "update", "seconds_remaining": 13, "details": {"epochs_completed": 1}},
        {"record": "update", "status": "uploading", "details": {"hyperparameters": {"a.b": 1}}},
    ]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda job: job.event("x", level="loud"), "info, warning or error is wanted"),
        (lambda job: job.event("x", type="Not A Type"), "a lower-case word is wanted"),
        (lambda job: job.event("x", type="_x"), "a lower-case word is wanted"),
        (lambda job: job.event("x", type=""), "a lower-case word is wanted"),
        (lambda job: job.event("x", type="a" * 65), "a lower-case word is wanted"),
        (lambda job: job.event("x", step=-1), "step is -1"),
        (lambda job: job.checkpoint(None, step=1), "TypeError"),
        (lambda job: job.checkpoint("out", step="1"), "step is a string"),
        (lambda job: job.checkpoint("out", step=1, checkpoint="half"), "model or adapter"),
        (lambda job: job.update(status="done"), "status 'done': one of"),
        (lambda job: job.update(n_epoch=1), "a job has no such field"),
        (lambda job: job.update(seconds_remaining="soon"), "TypeError"),
    ],
)
def test_a_call_that_makes_no_sense_is_told_and_does_not_raise(
    init: Init,
    capsys: pytest.CaptureFixture[str],
    call: Callable[[tunelog.Recorder], None],
    reason: str,
) -> None:
    call(init())
    assert reason in capsys.readouterr().err


def test_words_that_json_cannot_carry_are_mended(init: Init, spool: Path) -> None:
    job = init(hyperparameters={"half\ud800": "\udfff", "inf": math.inf, "path": Path("a")})
    job.event("half \ud800", model_path="\ud800")
    (recorded,) = records(only_spool(spool), "job")
    assert recorded["details"]["hyperparameters"] == {"half?": "?", "inf": "inf", "path": "a"}
    assert events(spool) == [("info", "half ?")]
