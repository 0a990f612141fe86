"""The service's settings: one table, from which the flags, the variables and the docs come."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"


class Settings(Struct, frozen=True, kw_only=True):
    """What an operator may set; each is `--name` and `TUNELOG_NAME` of `tunelog serve`."""

    max_body_bytes: int = 64 * 1024 * 1024
    max_batch_rows: int = 100_000
    max_row_keys: int = 10_000
    max_key_length: int = 512
    max_query_jobs: int = 1_000
    body_seconds: float = 60.0
    silence_seconds: float = 900.0
    tail_comment_seconds: float = 15.0
    stop_seconds: float = 10.0


HELP = {
    "max_body_bytes": "The largest request body, before and after decompression.",
    "max_batch_rows": "The most rows of a batch.",
    "max_row_keys": "The most keys of a row.",
    "max_key_length": "The most characters of a key.",
    "max_query_jobs": "The most jobs of one bulk query.",
    "body_seconds": "How long a request's body may pause before it is given up.",
    "silence_seconds": "A running job without a word from its writers for so long becomes `error`.",
    "tail_comment_seconds": "How often a live tail without news sends a comment.",
    "stop_seconds": "How long a stop waits for requests under way.",
}


def default(name: str) -> int | float:
    """A setting's default."""
    value: int | float = getattr(Settings(), name)
    return value


def names() -> tuple[str, ...]:
    """Every setting's name."""
    return tuple(field.name for field in msgspec.structs.fields(Settings))


def data_folder() -> Path:
    """Where the default store lies: the user's data directory (XDG Base Directory)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "tunelog"


def default_store() -> str:
    """The URL of the default store."""
    return f"sqlite:///{data_folder() / 'tunelog.db'}"
