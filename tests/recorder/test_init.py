"""What `init` begins: which job it is, and whether it records at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorder.recorded import Init
from tests.recording import only_spool, records
from tunelog.ids import new_id
from tunelog.model import JobDetails
from tunelog.recorder.details import DETAILS, is_job_id
from tunelog.wire.catalog import JOB_ID


def test_a_job_gets_its_id_without_a_service(init: Init, spool: Path) -> None:
    job = init(name="first", n_epochs=3, tags="one", learning_rate=np.float64(1e-5))
    assert JOB_ID.fullmatch(job.id)
    assert job.attempt is None
    assert job.url == f"http://127.0.0.1:8765/v1/fine-tunes/{job.id}"
    assert not job.should_stop
    recorded, attempt = records(only_spool(spool))
    assert recorded["id"] == job.id
    assert recorded["details"] == {
        "model": "Qwen/Qwen3-0.6B",
        "name": "first",
        "tags": ["one"],
        "n_epochs": 3,
        "learning_rate": 1e-5,
    }
    assert (attempt["from_step"], attempt["writer"], attempt["pid"]) == (None, 0, os.getpid())


@pytest.mark.parametrize(
    "given",
    [
        *("ft-1", "ft-a.b:c_d-e", "ft-" + "x" * 125, "ft-" + "x" * 126, "ft-", "ft-.", "ft-ü"),
        *("ft-a/b", "FT-1", "", "ft-a b", "ft-a\n", 7, None),
    ],
)
def test_an_id_is_one_if_the_service_takes_it_for_one(given: object) -> None:
    assert is_job_id(given) == (isinstance(given, str) and bool(JOB_ID.fullmatch(given)))


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id("ft-") for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(made[17] == "7" for made in ids)


def test_the_fields_of_a_job_are_those_of_the_service() -> None:
    assert frozenset(JobDetails.__struct_fields__) == DETAILS


def test_the_id_comes_from_the_call_then_the_environment_then_the_output_directory(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = init(output_dir=out).id
    assert json.loads((out / "tunelog.json").read_text()) == {"job_id": first}
    assert init(output_dir=out).id == first
    monkeypatch.setenv("TUNELOG_JOB_ID", "ft-environment")
    assert init(output_dir=out).id == "ft-environment"
    assert init(output_dir=out, job_id="ft-call").id == "ft-call"
    assert init(output_dir=out, resume="must").id == "ft-environment"
    assert init(output_dir=out, resume="never").id not in (first, "ft-environment", "ft-call")


def test_a_completed_job_is_not_entered_again_unless_it_must_be(init: Init, tmp_path: Path) -> None:
    first = init(output_dir=tmp_path)
    first.finish(timeout=0)
    second = init(output_dir=tmp_path)
    assert second.id != first.id
    second.finish("error", timeout=0)
    third = init(output_dir=tmp_path)
    assert third.id == second.id
    third.finish(timeout=0)
    assert init(output_dir=tmp_path, resume="must").id == second.id


def test_an_unusable_job_file_is_ignored(
    init: Init, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in ("{", "[]", '{"job_id": "../../etc"}', '{"job_id": 7}'):
        (tmp_path / "tunelog.json").write_text(content)
        assert JOB_ID.fullmatch(init(output_dir=tmp_path).id)
    assert "cannot be read and is ignored" in capsys.readouterr().err


def test_an_unusable_id_in_the_environment_is_ignored(
    init: Init, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNELOG_JOB_ID", "my job")
    assert JOB_ID.fullmatch(init().id)
    assert "'my job' is no job id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"job_id": "my job"}, "job_id='my job'"),
        ({"resume": "must"}, "neither job_id nor name was given"),
        ({"resume": "maybe"}, "auto, must, never"),
        ({"from_step": -1}, "from_step is -1"),
        ({"writers": "some"}, "'rank0' or 'all' is wanted"),
        ({"n_epoch": 3}, "did you mean n_epochs"),
        ({"lora_r": 3}, "hyperparameters"),
        ({"model": ""}, "the base model is wanted"),
    ],
)
def test_a_call_of_init_that_is_wrong_in_itself_raises_at_once(
    init: Init, spool: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        init(**settings)
    assert not spool.exists()


def test_a_key_is_never_written_to_a_file(init: Init, tmp_path: Path) -> None:
    job = init(api_key="tl-secret", output_dir=tmp_path, url="http://example.test/v1/")
    job.log({"loss": 1.0}, step=1)
    job.finish(timeout=0)
    assert job.url.startswith("http://example.test/v1/fine-tunes/ft-")
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"tl-secret" not in file.read_bytes()


def test_only_the_first_rank_records(
    init: Init, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with init() as job:
        job.log({"loss": 1.0}, step=1)
        job.log({"loss": "nonsense"})
        job.event("x")
        job.checkpoint("out", step=1)
        job.update(epochs_completed=1)
        assert (job.id, job.attempt, job.should_stop) == ("", None, False)
    assert init(job_id="ft-told").id == "ft-told"
    assert not spool.exists()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    init()
    assert only_spool(spool)
