"""The training itself: steps of gradient descent, with an evaluation now and then.

Nothing here reads, writes or prints: `train` tells its caller what happens, and the caller
records it. `tunelog demo` (cli/demo.py) shows how.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunelog.demo.data import Dataset
from tunelog.demo.network import Network
from tunelog.demo.optimizer import Adam, clip, learning_rate

CONTEXT = 12
BATCH_SIZE = 256
PEAK_LEARNING_RATE = 2e-3
WARMUP_RATIO = 0.05
MAX_GRAD_NORM = 1.0
EVAL_EVERY = 100
EVAL_PLACES = 4096


@dataclass(frozen=True)
class StepResult:
    """What one step of gradient descent did.

    Attributes:
        step: steps done so far, from 1.
        progress: how much of the training is done, 0 to 1.
        loss: mean cross-entropy of the batch before the step, in nats a character.
        grad_norm: the gradients' norm before clipping.
        learning_rate: the rate of this step.
        epoch: how often the training part has been seen, on average.
        tokens_per_second: characters predicted in a second during this step.
    """

    step: int
    progress: float
    loss: float
    grad_norm: float
    learning_rate: float
    epoch: float
    tokens_per_second: float


@dataclass(frozen=True)
class EvalResult:
    """How the model does on text that it is not trained on.

    Attributes:
        step: steps done so far; 0 before the first.
        progress: how much of the training is done, 0 to 1.
        loss: mean cross-entropy over the held-out places, in nats a character.
        network: the model as it is now.
    """

    step: int
    progress: float
    loss: float
    network: Network


@dataclass(frozen=True)
class Trained:
    """A model after its training."""

    network: Network
    data: Dataset
    steps: int
    eval_loss: float


class Budget:
    """How long to train: a number of steps, a number of seconds, or what ends first."""

    def __init__(self, steps: int | None, seconds: float | None) -> None:
        if steps is None and seconds is None:
            raise ValueError("steps or seconds must be given")
        self._steps, self._seconds = steps, seconds
        self._begin = time.perf_counter()

    def progress(self, steps_done: int) -> float:
        """The part of the budget that is used up, 0 to 1."""
        parts = [0.0]
        if self._steps is not None:
            parts.append(steps_done / self._steps if self._steps else 1.0)
        if self._seconds is not None:
            elapsed = time.perf_counter() - self._begin
            parts.append(elapsed / self._seconds if self._seconds else 1.0)
        return min(1.0, max(parts))


def train(
    text: str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    eval_every: int = EVAL_EVERY,
    on_step: Callable[[StepResult], None],
    on_eval: Callable[[EvalResult], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a small language model on `text`, for so many steps or seconds.

    The same text, `steps` and `seed` give the same losses. The held-out part is evaluated before
    the first step, after every `eval_every`-th, and at the end; `should_stop` is asked after each.
    """
    random = np.random.default_rng(seed)
    data = Dataset(text, CONTEXT)
    network = Network(len(data.vocabulary), CONTEXT, random)
    optimizer = Adam(network.parameters)

    def evaluate(step: int, progress: float) -> float:
        loss = evaluated(network, data)
        on_eval(EvalResult(step, progress, loss, network))
        return loss

    step = 0
    eval_loss = evaluate(step, 0.0)
    budget = Budget(steps, seconds)
    while budget.progress(step) < 1 and not should_stop():
        result = _step(step + 1, budget.progress(step + 1), network, optimizer, data, random)
        step = result.step
        on_step(result)
        if step % eval_every == 0:
            eval_loss = evaluate(step, budget.progress(step))
    if step % eval_every:
        eval_loss = evaluate(step, budget.progress(step))
    return Trained(network, data, step, eval_loss)


def evaluated(network: Network, data: Dataset) -> float:
    """The loss on the held-out part."""
    losses, sizes = [], []
    for tokens, targets in data.held_out_batches(1024, EVAL_PLACES):
        losses.append(network.loss(tokens, targets))
        sizes.append(len(targets))
    return float(np.average(losses, weights=sizes))


def sample(trained: Trained, prompt: str, length: int, seed: int = 0) -> str:
    """The prompt, and what the model writes after it, one character at a time."""
    data, random = trained.data, np.random.default_rng(seed)
    tokens = list(data.encode(prompt.rjust(data.context, "\n")))
    written = []
    for _ in range(length):
        log_probabilities = trained.network.log_probabilities(
            np.array([tokens[-data.context :]], dtype=np.int64)
        )[0]
        odds = np.exp(log_probabilities / 0.7)  # a temperature of 0.7: fewer wild guesses
        tokens.append(random.choice(len(odds), p=odds / odds.sum()))
        written.append(tokens[-1])
    return prompt + data.decode(np.array(written, dtype=np.int64))


def _step(
    step: int,
    progress: float,
    network: Network,
    optimizer: Adam,
    data: Dataset,
    random: np.random.Generator,
) -> StepResult:
    """One step: a batch, its gradients, a move against them."""
    begin = time.perf_counter()
    rate = learning_rate(progress, PEAK_LEARNING_RATE, WARMUP_RATIO)
    tokens, targets = data.batch(BATCH_SIZE, random)
    loss, gradients = network.gradients(tokens, targets)
    grad_norm = clip(gradients, MAX_GRAD_NORM)
    optimizer.update(gradients, rate)
    return StepResult(
        step=step,
        progress=progress,
        loss=loss,
        grad_norm=grad_norm,
        learning_rate=rate,
        epoch=step * BATCH_SIZE / len(data.train),
        tokens_per_second=BATCH_SIZE / (time.perf_counter() - begin),
    )
