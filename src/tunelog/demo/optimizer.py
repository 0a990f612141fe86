"""Gradient descent: Adam, gradients clipped, a learning rate that warms up and then falls."""

from __future__ import annotations

import math

import numpy as np

from tunelog.demo.network import Array, Parameters


class Adam:
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), in place."""

    def __init__(self, parameters: Parameters, beta1: float = 0.9, beta2: float = 0.99) -> None:
        self._parameters = parameters
        self._beta1, self._beta2 = beta1, beta2
        self._mean = {name: np.zeros_like(array) for name, array in parameters.items()}
        self._square = {name: np.zeros_like(array) for name, array in parameters.items()}
        self._steps = 0

    def update(self, gradients: Parameters, learning_rate: float) -> None:
        """Move every parameter a little against its gradient."""
        self._steps += 1
        bias1 = 1 - self._beta1**self._steps
        bias2 = 1 - self._beta2**self._steps
        for name, gradient in gradients.items():
            mean, square = self._mean[name], self._square[name]
            mean += (1 - self._beta1) * (gradient - mean)
            square += (1 - self._beta2) * (gradient * gradient - square)
            direction = mean / (np.sqrt(square / bias2) + 1e-8)
            self._parameters[name] -= (learning_rate / bias1) * direction


def clip(gradients: Parameters, max_norm: float) -> float:
    """Scale the gradients down to a norm of at most `max_norm`; answers the norm they had."""
    norm = math.sqrt(sum(_squares(gradient) for gradient in gradients.values()))
    if norm > max_norm:
        for gradient in gradients.values():
            gradient *= max_norm / norm
    return norm


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """The rate when `progress` (0 to 1) of the training is done.

    Up to `peak` in a line until `warmup` is done, then down to a tenth of it in half a cosine.
    """
    if progress < warmup:
        return peak * progress / warmup
    fallen = (progress - warmup) / (1 - warmup)
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * fallen)) / 2)


def _squares(array: Array) -> float:
    return float(np.vdot(array, array))
