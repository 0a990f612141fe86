"""Names, values and steps: what is kept of them, and what is told of the others."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorder.recorded import Init, events, snapshots
from tunelog.errors import InvalidRequest


def test_a_snapshot_has_what_was_logged(init: Init, spool: Path) -> None:
    job = init()
    job.log({"loss": 0.5, "tokens": 2**60}, step=7, logged_at=123)
    (snapshot,) = snapshots(spool)
    assert snapshot == {
        "record": "snapshot",
        "seq": 0,
        "step": 7,
        "logged_at": 123,
        "values": {"train/loss": 0.5, "train/tokens": 2**60},
    }


def test_snapshots_are_numbered_and_timed(init: Init, spool: Path) -> None:
    job = init()
    for step in (5, 3, 3):
        job.log({"loss": 1.0}, step)
    found = snapshots(spool)
    assert [(s["seq"], s["step"]) for s in found] == [(0, 5), (1, 3), (2, 3)]
    times = [s["logged_at"] for s in found]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("key", "prefix", "name"),
    [
        ("loss", "train", "train/loss"),
        ("loss", "eval", "eval/loss"),
        ("loss", "eval/", "eval/loss"),
        ("loss", "test", "test/loss"),
        ("loss", "", "loss"),
        ("train/loss", "eval", "train/loss"),
        ("eval/loss", "train", "eval/loss"),
        ("perf/tok_s", "train", "perf/tok_s"),
        ('odd "key" %s {}', "train", 'train/odd "key" %s {}'),
        ("Verlust ü\u2028\u00a0😀", "train", "train/Verlust ü\u2028\u00a0😀"),
    ],
)
def test_a_name_without_a_slash_is_put_under_the_prefix(
    init: Init, spool: Path, key: str, prefix: str, name: str
) -> None:
    job = init()
    for _ in range(2):
        job.log({key: 1.5}, step=1, prefix=prefix)
    assert [s["values"] for s in snapshots(spool)] == [{name: 1.5}, {name: 1.5}]


class Unreadable:
    """Like a tensor on a device that failed."""

    ndim = 0

    def item(self) -> float:
        raise RuntimeError("CUDA error:\n  device-side assert")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (-0.0, -0.0),
        (2**63 - 1, 2**63 - 1),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.1), float(np.float16(0.1))),
        (np.float32("nan"), "NaN"),
        (np.int32(7), 7),
        (np.uint8(7), 7),
        (np.array(2.5), 2.5),
        (np.array(3), 3),
        (Decimal("0.1"), 0.1),
        (Decimal("Infinity"), "Infinity"),
        (Fraction(1, 4), 0.25),
    ],
)
def test_whatever_is_one_number_is_kept(
    init: Init, spool: Path, value: Any, number: float | str
) -> None:
    job = init(strict=True)
    for _ in range(2):
        job.log({"x": value}, step=1)
    for snapshot in snapshots(spool):
        (kept,) = snapshot["values"].values()
        assert (type(kept), str(kept)) == (type(number), str(number))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("high", "a string; a number is wanted"),
        (None, "None; a number is wanted"),
        (True, "a boolean; a number is wanted"),
        (np.bool_(True), "a boolean; a number is wanted"),
        ({"nested": 1}, "a dict; a number is wanted"),
        ([1.0], "a list; a number is wanted"),
        (np.zeros(3), "of 1 dimensions; a single number is wanted"),
        (np.zeros((1, 1)), "of 2 dimensions; a single number is wanted"),
        (np.complex64(1), "a complex number; a real one is wanted"),
        (1j, "of type complex; a number is wanted"),
        (object(), "of type object; a number is wanted"),
        (2**63, "an integer beyond int64"),
        (np.uint64(2**63), "an integer beyond int64"),
        (Decimal("1e400"), "a number beyond double"),
        (Unreadable(), "RuntimeError: CUDA error: device-side assert"),
    ],
)
def test_a_value_that_cannot_be_kept_is_told_and_the_others_stay(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str], value: Any, reason: str
) -> None:
    job = init()
    for step in range(3):
        job.log({"loss": 1.0, "bad": value}, step)
    assert [s["values"] for s in snapshots(spool)] == [{"train/loss": 1.0}] * 3
    said = capsys.readouterr().err
    assert said == f"tunelog: 'bad' was not recorded: {reason}. Said once; repeats are counted.\n"
    assert events(spool) == [("warning", f"'bad' was not recorded: {reason}.")]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "an empty key"),
        (7, "the key is of type int; a string is wanted"),
        ("a\nb", "a control character in the name"),
        ("half\ud800", "a control character in the name"),
        ("x" * 600, "a name of 606 characters, more than 512"),
        ("global_step", "train/global_step is the service's own"),
        ("nonfinite", "train/nonfinite is the service's own"),
    ],
)
def test_a_name_that_cannot_be_one_is_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str], key: Any, reason: str
) -> None:
    init().log({key: 1.0, "loss": 1.0}, step=1)
    assert [s["values"] for s in snapshots(spool)] == [{"train/loss": 1.0}]
    assert reason in capsys.readouterr().err


def test_two_keys_of_one_name_are_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init()
    for _ in range(2):
        job.log({"loss": 1.0, "train/loss": 2.0}, step=1)
    assert [s["values"] for s in snapshots(spool)] == [{"train/loss": 1.0}] * 2
    assert capsys.readouterr().err.count("given twice in one call") == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (None, "step is missing"),
        (-1, "step is -1; a whole number from 0 to 2**63 - 1 is wanted"),
        (2**63, "a whole number from 0 to 2**63 - 1 is wanted"),
        (1.5, "step is 1.5; a whole number is wanted"),
        (math.nan, "step is nan; a whole number is wanted"),
        ("7", "step is a string; a whole number is wanted"),
        (True, "step is a boolean; a whole number is wanted"),
    ],
)
def test_a_snapshot_without_a_proper_step_is_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str], step: Any, reason: str
) -> None:
    init().log({"loss": 1.0}, step)
    assert snapshots(spool) == []
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("step", [7, 7.0, np.int64(7), np.float32(7)])
def test_a_step_may_be_any_whole_number(init: Init, spool: Path, step: Any) -> None:
    init(strict=True).log({"loss": 1.0}, step)
    assert [s["step"] for s in snapshots(spool)] == [7]


@pytest.mark.parametrize("values", [3.0, None, [("loss", 1.0)], "loss"])
def test_values_that_are_no_dict_are_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str], values: Any
) -> None:
    init().log(values, step=1)
    assert snapshots(spool) == []
    assert "a dict of names and numbers is wanted" in capsys.readouterr().err


def test_an_enormous_dict_is_told(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init()
    job.log({str(i): 1.0 for i in range(10_000)}, step=1)
    job.log({str(i): 1.0 for i in range(10_001)}, step=2)
    assert [s["step"] for s in snapshots(spool)] == [1]
    assert "10001 values in one call, more than 10000" in capsys.readouterr().err


def test_a_snapshot_without_any_value_is_kept(init: Init, spool: Path) -> None:
    init().log({}, step=4)
    assert [(s["step"], s["values"]) for s in snapshots(spool)] == [(4, {})]


def test_what_was_lost_is_counted_at_the_end(init: Init, spool: Path) -> None:
    job = init()
    for step in range(5):
        job.log({"bad": "x"}, step)
    job.log({"loss": 1.0})
    job.finish()
    summary = (
        "6 could not be recorded: 'bad' 5 × (a string; a number is wanted); "
        "'log()' 1 × (step is missing)"
    )
    assert events(spool)[-1] == ("warning", summary)


def test_a_thousand_kinds_of_loss_are_not_a_thousand_lines(
    init: Init, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = init()
    for number in range(1000):
        job.log({f"bad{number}": "x"}, step=1)
    assert len(capsys.readouterr().err.splitlines()) == 21
    assert len(events(spool)) == 20


def test_strict_raises_what_else_is_counted(init: Init) -> None:
    job = init(strict=True)
    with pytest.raises(InvalidRequest, match="a string; a number is wanted") as caught:
        job.log({"loss": 1.0, "bad": "x"}, step=1)
    assert caught.value.param == "bad"
    with pytest.raises(InvalidRequest, match="step is missing"):
        job.log({"loss": 1.0})
    with pytest.raises(InvalidRequest, match="no such field"):
        job.update(n_epoch=3)


def test_integers_and_scalars_among_floats_stay_what_they_are(init: Init, spool: Path) -> None:
    job = init()
    for _ in range(3):
        job.log({"a": 0.1, "tokens": 2**60, "b": np.float32(0.1), "c": math.nan}, step=1)
    values = {
        "train/a": 0.1,
        "train/tokens": 2**60,
        "train/b": float(np.float32(0.1)),
        "train/c": "NaN",
    }
    assert [json.dumps(s["values"]) for s in snapshots(spool)] == [json.dumps(values)] * 3
