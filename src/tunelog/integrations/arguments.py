"""What an integration passes on to `tunelog.init`, checked where the user wrote it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tunelog.recorder import init
from tunelog.recorder.details import check_names


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises `TypeError` for a name that is neither an argument of `init` nor a job's field."""
    check_names(dict.fromkeys(arguments.keys() - inspect.signature(init).parameters))
