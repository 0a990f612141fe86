"""The demo's training: a real language model, small enough for a minute on a laptop.

It is written to be read. `text` finds the prose, `data` cuts it up, `network` is the model with
its gradients, `optimizer` is gradient descent, `training` puts them together.
"""

import os

# With two threads OpenBLAS waits in a busy loop: where other processes want the second core, a step
# takes ten times as long. It looks at the variable when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tunelog.demo.text import english_text
from tunelog.demo.training import (
    EvalResult,
    StepResult,
    Trained,
    sample,
    train,
)

__all__ = [
    "EvalResult",
    "StepResult",
    "Trained",
    "english_text",
    "sample",
    "train",
]
