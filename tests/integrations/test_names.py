"""What names mean, how long a training takes still, and what a hook may do."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import pytest

from tunelog.integrations.arguments import check_arguments
from tunelog.integrations.harmless import Faults, harmless
from tunelog.integrations.names import Stage, metric, model_of, snapshots
from tunelog.integrations.progress import Progress


@pytest.mark.parametrize(
    ("name", "stage", "expected"),
    [
        ("loss", "train", "train/loss"),
        ("loss", "eval", "eval/loss"),
        ("loss", "test", "eval/test_loss"),
        ("train_loss", "train", "train/loss"),
        ("training_loss_epoch", "train", "train/loss_epoch"),
        ("train_loss", "eval", "train/loss"),
        ("eval_loss", "train", "eval/loss"),
        ("val_loss", "eval", "eval/loss"),
        ("valid_loss", "train", "eval/loss"),
        ("validation_loss", "train", "eval/loss"),
        ("val/loss", "train", "eval/loss"),
        ("val_loss/dataloader_idx_1", "eval", "eval/loss/dataloader_idx_1"),
        ("test_loss", "test", "eval/test_loss"),
        ("test/loss", "train", "eval/test_loss"),
        ("train/loss", "train", "train/loss"),
        ("eval/loss", "train", "eval/loss"),
        ("gpu/memory", "train", "gpu/memory"),
        ("gpu/memory", "eval", "eval/gpu/memory"),
        ("epoch", "eval", "train/epoch"),
        ("value", "train", "train/value"),
        ("val", "train", "train/val"),
        ("val_", "train", "train/val_"),
        ("tested", "train", "train/tested"),
        ("", "train", ""),
        (3, "train", 3),
    ],
)
def test_a_name_is_a_metric_of_training_or_evaluation(
    name: object, stage: Stage, expected: object
) -> None:
    assert metric(name, stage) == expected


def test_training_and_evaluation_in_one_call_are_two_snapshots() -> None:
    given = {"train_loss": 1, "val_loss": 2, "epoch": 3, "val_acc": 4}
    assert snapshots(given) == [
        {"train/loss": 1, "train/epoch": 3},
        {"eval/loss": 2, "eval/acc": 4},
    ]


def test_the_epoch_of_an_evaluation_stays_with_it() -> None:
    assert snapshots({"val_loss": 2, "epoch": 3}) == [{"train/epoch": 3, "eval/loss": 2}]
    assert snapshots({"epoch": 3}) == [{"train/epoch": 3}]
    assert snapshots({}) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"loss": 1, "train_loss": 2}, {"train/loss": 1, "train/train_loss": 2}),
        ({"train_loss": 2, "loss": 1}, {"train/loss": 1, "train/train_loss": 2}),
        ({"eval_loss": 1, "val_loss": 2}, {"eval/loss": 1, "eval/val_loss": 2}),
    ],
)
def test_no_value_takes_the_place_of_another(given: dict[str, int], expected: Any) -> None:
    assert snapshots(given) == [expected]


def test_as_many_metrics_as_names_whatever_they_are() -> None:
    names = ["loss", "train_loss", "train/loss", "val/loss", "val_loss", "test/loss", "test_loss"]
    names += ["epoch", "train_epoch", "train/epoch", "eval/val_loss", "training_loss"]
    stages: tuple[Stage, ...] = ("train", "eval", "test")
    for stage, few in product(stages, permutations(names, 3)):
        made = snapshots(dict.fromkeys(few, 1.0), stage)
        assert sum(map(len, made)) == 3, few


def test_a_models_name_is_found_in_settings() -> None:
    assert model_of({"lr": 1, "model": object(), "model_name_or_path": "a/b"}) == "a/b"
    assert model_of({"model": 3}) is None


def test_what_remains_is_estimated_by_the_pace_and_not_each_step() -> None:
    now = [100.0]
    progress = Progress(30, 10, lambda: now[0])
    assert progress.remaining(10) is None
    now[0] = 104
    assert progress.remaining(12) == 36
    now[0] = 113.9
    assert progress.remaining(20) is None
    now[0] = 114
    assert progress.remaining(30) == 0
    assert Progress(None).remaining(5) is None


class Hooks:
    def __init__(self, *, strict: bool = False) -> None:
        self._faults = Faults("TunelogHooks", strict=strict)

    @harmless
    def divide(self, number: int) -> float:
        return 1 / number


def test_what_a_hook_raises_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    hooks = Hooks()
    assert [hooks.divide(number) for number in (0, 2, 0)] == [None, 0.5, None]
    assert capfd.readouterr().err == (
        "tunelog: TunelogHooks: divide: ZeroDivisionError: division by zero."
        " Said once; the training goes on.\n"
    )


def test_what_a_hook_raises_is_raised_where_the_recorder_is_strict() -> None:
    with pytest.raises(ZeroDivisionError):
        Hooks(strict=True).divide(0)


def test_a_wrong_argument_is_refused_where_it_is_written() -> None:
    check_arguments({"tags": [], "n_epochs": 3})
    with pytest.raises(TypeError, match="did you mean n_epochs"):
        check_arguments({"n_epoch": 3})
