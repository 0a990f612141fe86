"""Lists of jobs, over every shard."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tunelog.backends.clickhouse import state
from tunelog.backends.clickhouse.node import quote
from tunelog.backends.clickhouse.records import Kind, listed
from tunelog.backends.clickhouse.shard import Shard
from tunelog.backends.clickhouse.state import JobState


class Listing:
    """The states of all jobs, as they were when last looked at; only changed ones are fetched."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._known: dict[int, tuple[int, JobState]] = {}
        self._lock = threading.Lock()

    def states(self, project: str | None = None) -> list[tuple[int, JobState]]:
        """The jobs that there are now, of one project or of all, with their numbers."""
        return [
            (number, each)
            for shard in self._shards
            for number, _, each in self.of_shard(shard, project)
            if not each.deleted
        ]

    def of_shard(self, shard: Shard, project: str | None = None) -> list[tuple[int, int, JobState]]:
        """The jobs of one shard, deleted ones too: their numbers, versions and states."""
        where = f"kind = {Kind.STATE:d}" + (f" AND id = {quote(project)}" if project else "")
        versions = shard.versions(where)
        changed = [
            number
            for number, version in versions.items()
            if number not in self._known or self._known[number][0] < version
        ]
        if changed:
            if len(changed) < 1000:
                where += f" AND job IN ({listed(changed)})"
            news = {
                record.job: (record.version, state.decode(record.body))
                for record in shard.records(where)
            }
            with self._lock:
                self._known.update(news)
        return [(number, *self._known[number]) for number in versions]
