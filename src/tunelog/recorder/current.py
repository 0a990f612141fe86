"""The recorder that `tunelog.init` gave last, for code that has no handle at hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from tunelog.recorder.job import End, Level, Recorder
from tunelog.recorder.losses import say

_current: Recorder | None = None
_said = False


def use(recorder: Recorder) -> None:
    """Have the functions of this module record here."""
    global _current
    _current = recorder


def log(
    values: Mapping[str, Any],
    step: int | None = None,
    *,
    prefix: str = "train",
    logged_at: int | None = None,
) -> None:
    """Record a snapshot with the current recorder; see `Recorder.log`."""
    if (recorder := _recorder("log")) is not None:
        recorder.log(values, step, prefix=prefix, logged_at=logged_at)


def event(
    message: str,
    *,
    type: str | None = None,  # noqa: A002 - Together's word
    level: Level = "info",
    step: int | None = None,
    **more: str | float | None,
) -> None:
    """Record something that happened, with the current recorder; see `Recorder.event`."""
    if (recorder := _recorder("event")) is not None:
        recorder.event(message, type=type, level=level, step=step, **more)


def checkpoint(
    path: str | os.PathLike[str],
    *,
    step: int,
    checkpoint_type: str = "Intermediate",
    checkpoint: Literal["model", "adapter"] | None = None,
) -> None:
    """Record that a checkpoint was saved, with the current recorder; see `Recorder.checkpoint`."""
    if (recorder := _recorder("checkpoint")) is not None:
        recorder.checkpoint(path, step=step, checkpoint_type=checkpoint_type, checkpoint=checkpoint)


def update(
    *,
    status: Literal["running", "compressing", "uploading"] | End | None = None,
    seconds_remaining: float | None = None,
    **fields: Any,
) -> None:
    """Change what is known of the current recorder's job; see `Recorder.update`."""
    if (recorder := _recorder("update")) is not None:
        recorder.update(status=status, seconds_remaining=seconds_remaining, **fields)


def finish(status: End | None = "completed", timeout: float = 10.0) -> bool:
    """End the current recorder; see `Recorder.finish`."""
    recorder = _recorder("finish")
    return recorder is not None and recorder.finish(status, timeout)


def _recorder(called: str) -> Recorder | None:
    global _said
    if _current is None and not _said:
        _said = True
        say(f"{called}() before init(): nothing is recorded")
    return _current
