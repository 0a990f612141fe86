"""What a framework's names mean: which of them are of evaluation, and how a metric is then called.

========================================  ====================  =====================
name                                      metric                of
========================================  ====================  =====================
`train_loss`, `train/loss`                `train/loss`          training
`eval_loss`, `val_loss`, `valid_loss`,    `eval/loss`           evaluation
`validation_loss`, the same with `/`
`test_loss`, `test/loss`                  `eval/test_loss`      evaluation
`gpu/memory`                              as it is              what is going on
`loss`                                    `train/loss`,         what is going on
                                          in an evaluation
                                          `eval/loss`, in a
                                          test `eval/test_loss`
`epoch`                                   `train/epoch`         either
========================================  ====================  =====================

A name that would lose its prefix to become one that is given beside it keeps it: of `loss` and
`train_loss` in one call come `train/loss` and `train/train_loss`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import Any, Literal

Stage = Literal["train", "eval", "test"]
"""What is going on while something is logged."""

_PREFIXES: Mapping[Stage, str] = {"train": "train/", "eval": "eval/", "test": "eval/test_"}
_STAGES: Mapping[str, Stage] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("eval", "val", "valid", "validation"), "eval"),
    "test": "test",
}
_PREFIXED = re.compile(rf"({'|'.join(sorted(_STAGES, key=len, reverse=True))})[_/](?=.)")
_MODEL_KEYS = ("model_name_or_path", "model_name", "pretrained_model_name_or_path", "model")

EPOCH = "train/epoch"


def snapshots(values: Mapping[Any, Any], stage: Stage = "train") -> list[dict[Any, Any]]:
    """The snapshots that one call of a framework's logging makes: of training, and of evaluation.

    The names are metrics' names then. A key that is no string is left for the recorder to refuse.
    """
    train: dict[Any, Any] = {}
    evaluation: dict[Any, Any] = {}
    for name, value in zip(_metrics(tuple(values), stage), values.values(), strict=True):
        is_evaluation = isinstance(name, str) and name.startswith("eval/")
        (evaluation if is_evaluation else train)[name] = value
    if evaluation and train.keys() <= {EPOCH}:
        return [{**train, **evaluation}]
    return [kept for kept in (train, evaluation) if kept]


@lru_cache(maxsize=256)
def _metrics(keys: tuple[Any, ...], stage: Stage) -> tuple[Any, ...]:
    """The metrics that the names of one call mean, no two the same."""
    found: dict[Any, None] = {}
    for key in keys:
        name = metric(key, stage, keys)
        if name in found:
            name = f"{name.partition('/')[0]}/{key}"
        while name in found:
            name += "_"
        found[name] = None
    return tuple(found)


def metric(key: Any, stage: Stage = "train", beside: Container[Any] = ()) -> Any:
    """The metric that a name means at a stage, when it is given beside others in one call."""
    if not isinstance(key, str) or not key:
        return key
    if key == "epoch":
        return EPOCH
    if match := _PREFIXED.match(key):
        said, rest = _STAGES[match[1]], key[match.end() :]
        is_shadowed = said == stage and rest in beside
        return _PREFIXES[said] + (key.replace("/", "_", 1) if is_shadowed else rest)
    if "/" in key and stage == "train":
        return key
    return _PREFIXES[stage] + key


def model_of(settings: Mapping[Any, Any]) -> str | None:
    """The base model's name, if a training's settings have it under one of its usual keys."""
    found = (settings.get(key) for key in _MODEL_KEYS)
    return next((name for name in found if isinstance(name, str) and name), None)
