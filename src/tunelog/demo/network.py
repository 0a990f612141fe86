"""A language model of characters, with its gradients worked out by hand.

After Bengio et al., "A Neural Probabilistic Language Model" (2003): the vectors of the last
characters, side by side, go through two hidden layers, and out come the odds of the next one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelog.demo.data import Tokens

Array = NDArray[np.floating[Any]]
Parameters = dict[str, Array]
"""A model's weights by name; gradients have the same names and shapes."""


class Network:
    """`context` characters in, the log-probability of every next character out.

    ::

        x  = embedding[tokens]                 the characters' vectors, side by side
        h1 = relu(x @ w1 + b1)
        h2 = h1 + relu(h1 @ w2 + b2)           a residual layer
        logits = h2 @ w3 + b3
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        random: np.random.Generator,
        *,
        width: int = 24,
        hidden: int = 384,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> None:
        def normal(rows: int, columns: int, scale: float) -> Array:
            return (random.standard_normal((rows, columns)) * scale).astype(dtype)

        inputs = context * width
        self.parameters: Parameters = {
            "embedding": normal(vocabulary, width, 1.0),
            "w1": normal(inputs, hidden, (2 / inputs) ** 0.5),
            "b1": np.zeros(hidden, dtype),
            "w2": normal(hidden, hidden, (2 / hidden) ** 0.5),
            "b2": np.zeros(hidden, dtype),
            "w3": normal(hidden, vocabulary, 0.1 * hidden**-0.5),
            "b3": np.zeros(vocabulary, dtype),
        }

    @property
    def size(self) -> int:
        """How many numbers the model is made of."""
        return sum(array.size for array in self.parameters.values())

    def save(self, path: Path) -> None:
        """Write the parameters to a file of numpy's, `….npz`."""
        np.savez(path, allow_pickle=False, **self.parameters)

    def log_probabilities(self, tokens: Tokens) -> Array:
        """For each row of tokens, the log-probability of each next token."""
        return self._forward(tokens)[-1]

    def loss(self, tokens: Tokens, targets: Tokens) -> float:
        """Mean cross-entropy in nats: 0 for a model that is always right and sure of it."""
        return _cross_entropy(self.log_probabilities(tokens), targets)

    def gradients(self, tokens: Tokens, targets: Tokens) -> tuple[float, Parameters]:
        """The loss, and how it changes with every parameter (the chain rule, last layer first)."""
        p = self.parameters
        x, h1, r2, log_probabilities = self._forward(tokens)
        rows = np.arange(len(targets))

        d_logits = np.exp(log_probabilities)
        d_logits[rows, targets] -= 1
        d_logits /= len(targets)
        d_h2 = d_logits @ p["w3"].T
        d_r2 = d_h2 * (r2 > 0)
        d_h1 = (d_h2 + d_r2 @ p["w2"].T) * (h1 > 0)
        d_x = d_h1 @ p["w1"].T

        return _cross_entropy(log_probabilities, targets), {
            "embedding": _sum_by_token(d_x, tokens, like=p["embedding"]),
            "w1": x.T @ d_h1,
            "b1": d_h1.sum(axis=0),
            "w2": h1.T @ d_r2,
            "b2": d_r2.sum(axis=0),
            "w3": (h1 + r2).T @ d_logits,
            "b3": d_logits.sum(axis=0),
        }

    def _forward(self, tokens: Tokens) -> tuple[Array, Array, Array, Array]:
        p = self.parameters
        x = p["embedding"][tokens].reshape(len(tokens), -1)
        h1 = np.maximum(x @ p["w1"] + p["b1"], 0)
        r2 = np.maximum(h1 @ p["w2"] + p["b2"], 0)
        logits = (h1 + r2) @ p["w3"] + p["b3"]
        logits -= logits.max(axis=1, keepdims=True)
        return x, h1, r2, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _cross_entropy(log_probabilities: Array, targets: Tokens) -> float:
    return -float(log_probabilities[np.arange(len(targets)), targets].mean())


def _sum_by_token(d_x: Array, tokens: Tokens, *, like: Array) -> Array:
    """Each character's vector was used in many places: add up what each of them asks for."""
    gradient = np.zeros_like(like)
    np.add.at(gradient, tokens.reshape(-1), d_x.reshape(-1, like.shape[1]))
    return gradient
