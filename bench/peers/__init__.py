"""The systems that tunelog stands beside, each driven the way its users drive it.

A module for each, of the same functions. Some run in the peer's own environment, `.peers/PEER` as
scripts/peers builds it, by `python -m bench.peers.PEER`; so a module imports nothing but the
standard library until it is there.

- `serve(folder, port, sampled)`: become the server, keeping everything in the folder (peer's
  environment). `sampled` matters where `SAMPLES_AT_START`: one server for every point, one for a
  hundred.
- `write(rows, folder, port)`: log a run by the peer's own client and answer what is to be known of
  it to read it (peer's environment).
- `full(ask, told)`, `sampled(ask, told)`, `tail(ask, told)`: read every point of five metrics, some
  hundred of each, those of the last ten steps; the answers' bodies, as they came. A peer that has
  no such question has no such function.
- `points(bodies)`: how many points are in them.

`READY` is a path that answers 200 once the server stands, `SIZES` the lengths of run that its own
writing is fast enough for.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

Told = dict[str, Any]
"""What `write` tells; the steps and the seconds that it took are added."""


class Row(NamedTuple):
    """What is logged at one step, at one time in seconds."""

    step: int
    seconds: float
    values: dict[str, float]


METRICS = tuple(
    f"train/{name}" for name in ("loss", "learning_rate", "grad_norm", "epoch", "tokens_per_second")
)


SAMPLE = 100
"""Points of a series that a chart asks for."""


class Ask(Protocol):
    """What the reading functions ask with: a path, and a body if it is a POST."""

    def __call__(self, path: str, body: object = None) -> bytes:
        """The answer's body, which is a 200's."""


def main(
    serve: Callable[[str, int, bool], None],
    write: Callable[[Sequence[Row], str, int], Told],
    *,
    client: str,
) -> None:
    """`serve FOLDER all|sampled PORT`, or `write FOLDER ROWS PORT`, which prints what it tells.

    `client` is the package that `write` uses; its import is not counted.
    """
    what, folder, given, port = sys.argv[1:]
    if what == "serve":
        serve(folder, int(port), given == "sampled")
        return
    with open(given) as file:
        rows = [Row(*json.loads(line)) for line in file]
    printed, sys.stdout = sys.stdout, sys.stderr
    importlib.import_module(client)
    begun = time.perf_counter()
    told = write(rows, folder, int(port))
    seconds = time.perf_counter() - begun
    print(json.dumps({**told, "seconds": seconds, "steps": len(rows)}), file=printed)
