"""The demo trains: its gradients are right, its loss falls, and a seed gives the same curve."""

from __future__ import annotations

import sys

# isort: split - before numpy, which the demo tells how many threads to take
from tunelog.demo import EvalResult, StepResult, english_text, sample, train

# isort: split
import numpy as np
import pytest

from tunelog.demo.data import Dataset
from tunelog.demo.network import Network
from tunelog.demo.optimizer import clip, learning_rate

TEXT = english_text()


def losses(*, steps: int, seed: int = 0) -> tuple[list[float], list[float]]:
    """Train and eval losses of a short training."""
    trained: list[StepResult] = []
    evaluated: list[EvalResult] = []
    train(
        TEXT,
        steps=steps,
        seed=seed,
        eval_every=5,
        on_step=trained.append,
        on_eval=evaluated.append,
    )
    return [r.loss for r in trained], [r.loss for r in evaluated]


@pytest.mark.parametrize("name", ["embedding", "w1", "b1", "w2", "b2", "w3", "b3"])
def test_gradients_are_those_that_differences_of_the_loss_give(name: str) -> None:
    random = np.random.default_rng(1)
    network = Network(7, 3, random, width=4, hidden=6, dtype=np.float64)
    for bias in ("b1", "b2", "b3"):
        network.parameters[bias] += random.standard_normal(network.parameters[bias].shape)
    tokens, targets = random.integers(0, 7, (20, 3)), random.integers(0, 7, 20)
    _, gradients = network.gradients(tokens, targets)
    parameter, delta = network.parameters[name], 1e-6

    measured = np.zeros_like(parameter)
    for place in np.ndindex(parameter.shape):
        value = parameter[place]
        parameter[place] = value + delta
        above = network.loss(tokens, targets)
        parameter[place] = value - delta
        below = network.loss(tokens, targets)
        parameter[place] = value
        measured[place] = (above - below) / (2 * delta)

    assert np.abs(measured).max() > 1e-3
    np.testing.assert_allclose(gradients[name], measured, rtol=1e-5, atol=1e-8)


def test_the_loss_on_held_out_text_falls_below_what_character_counts_alone_can_reach() -> None:
    evaluated: list[float] = []
    trained = train(
        TEXT,
        steps=100,
        on_step=lambda _: None,
        on_eval=lambda result: evaluated.append(result.loss),
    )
    unigram = trained.data.unigram_entropy()
    assert 3.0 < unigram < evaluated[0]
    assert trained.eval_loss == evaluated[-1] < unigram - 0.5


def test_the_same_seed_gives_the_same_losses_and_another_seed_others() -> None:
    first = losses(steps=12)
    assert [len(part) for part in first] == [12, 4]  # evaluated at 0, 5, 10 and at the end
    assert losses(steps=12) == first
    assert losses(steps=12, seed=1)[0] != first[0]


def test_held_out_paragraphs_are_not_trained_on() -> None:
    data = Dataset(TEXT, 12)
    trained_on = set(data.decode(data.train).split("\n\n"))
    held_out = data.decode(data.held_out).split("\n\n")
    assert len(held_out) > 100
    assert not trained_on.intersection(held_out)


def test_there_is_prose_also_where_the_language_reference_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert 100_000 < len(english_text()) < len(TEXT)


def test_training_ends_when_its_seconds_are_used_up_or_it_is_asked_to_stop() -> None:
    steps: list[StepResult] = []
    evals: list[EvalResult] = []
    train(TEXT, seconds=0.3, on_step=steps.append, on_eval=evals.append)
    assert 0.5 < steps[-1].progress <= 1
    assert evals[-1].step == steps[-1].step == len(steps)
    done = len(steps)
    train(TEXT, seconds=60, on_step=steps.append, on_eval=evals.append, should_stop=lambda: True)
    assert len(steps) == done


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    rates = [learning_rate(progress, 1.0, 0.05) for progress in (0.0, 0.025, 0.05, 0.525, 1.0)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1])


def test_clipping_keeps_the_direction_and_answers_the_norm_before() -> None:
    gradients = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    assert clip(gradients, 10.0) == 5.0
    assert clip(gradients, 1.0) == 5.0
    assert gradients["a"][0] == pytest.approx(0.6)
    assert gradients["b"][0, 0] == pytest.approx(0.8)


def test_a_sample_begins_with_its_prompt_and_has_the_length_asked_for() -> None:
    trained = train(TEXT, steps=1, on_step=lambda _: None, on_eval=lambda _: None)
    written = sample(trained, "The ", 30)
    assert written.startswith("The ")
    assert len(written) == 34
    assert written == sample(trained, "The ", 30)


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="too short: 5 characters"):
        Dataset("short", 12)
