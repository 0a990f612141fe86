"""Removing what is left of deleted jobs, in bulk and behind everything else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.shard import Shard
from tunelog.errors import StoreError

EVERY_SECONDS: Final = 60.0
REST_NS: Final = 60 * 1_000_000_000
"""A job is left alone for so long after its deletion, as somebody may still be reading it."""


class Purger:
    """Purges now and then, for as long as the backend is open."""

    def __init__(self, purge: Callable[[int], int]) -> None:
        """`purge` removes what was deleted before a time."""
        self._purge = purge
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tunelog-purge", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End when what was begun is done."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_SECONDS):
            try:
                self._purge(time.time_ns() - REST_NS)
            except StoreError as error:
                logging.getLogger(__name__).warning("purging: %s", error)


def remove(shard: Shard, ends: Mapping[int, int]) -> None:
    """Remove everything of jobs up to an arrival of each, but their marks and states.

    The replicas do so by and by, each by itself.
    """
    if not ends:
        return
    for table, arrived in (("snapshot", "arrival"), ("record", "version")):
        gone = " OR ".join(f"job = {job} AND {arrived} <= {end}" for job, end in ends.items())
        kept = f" AND kind NOT IN ({Kind.MARK:d}, {Kind.STATE:d})" if table == "record" else ""
        shard.select(f"ALTER TABLE {table} DELETE WHERE ({gone}){kept}")
