"""Text as numbers: a vocabulary, a training part, a held-out part, batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class Dataset:
    """A text cut into characters, every tenth paragraph of it held out.

    Attributes:
        vocabulary: the characters that occur; a token is a position in it.
        train, held_out: the two parts as tokens.
        context: how many characters the model sees before the one it predicts.
    """

    def __init__(self, text: str, context: int) -> None:
        paragraphs = text.split("\n\n")
        self.vocabulary = "".join(sorted(set(text) | {"\n"}))
        self.context = context
        self.train = self.encode("\n\n".join(p for i, p in enumerate(paragraphs) if i % 10))
        self.held_out = self.encode("\n\n".join(paragraphs[::10]))
        if min(len(self.train), len(self.held_out)) <= context:
            raise ValueError(f"the text is too short: {len(text)} characters")

    def encode(self, text: str) -> Tokens:
        """The tokens of a text; a character outside the vocabulary is left out."""
        number = {character: i for i, character in enumerate(self.vocabulary)}
        return np.array([number[c] for c in text if c in number], dtype=np.int64)

    def decode(self, tokens: Tokens) -> str:
        """The text of tokens."""
        return "".join(self.vocabulary[token] for token in tokens)

    def batch(self, size: int, random: np.random.Generator) -> tuple[Tokens, Tokens]:
        """`size` places of the training part, drawn at random."""
        return self._at(self.train, random.integers(0, len(self.train) - self.context, size))

    def held_out_batches(self, size: int, most: int) -> Iterator[tuple[Tokens, Tokens]]:
        """At most `most` places, spread evenly over the held-out part: the same at every call."""
        places = len(self.held_out) - self.context
        starts = np.linspace(0, places - 1, min(most, places)).astype(np.int64)
        for begin in range(0, len(starts), size):
            yield self._at(self.held_out, starts[begin : begin + size])

    def unigram_entropy(self) -> float:
        """The loss, in nats, of a model that knows only how often each character occurs.

        Frequencies are counted in the training part, the loss is that of the held-out part.
        """
        counts = np.bincount(self.train, minlength=len(self.vocabulary)) + 1.0
        return float(-np.log(counts / counts.sum())[self.held_out].mean())

    def _at(self, part: Tokens, starts: Tokens) -> tuple[Tokens, Tokens]:
        """The `context` tokens from each start on, and the token after them."""
        windows = np.lib.stride_tricks.sliding_window_view(part, self.context + 1)[starts]
        return windows[:, :-1], windows[:, -1]
