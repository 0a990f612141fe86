"""Watches a command and records it: what `tunelog run` does."""

from tunelog.supervise.command import Command, Ended
from tunelog.supervise.names import Names, find_job, is_completed
from tunelog.supervise.recording import record

__all__ = ["Command", "Ended", "Names", "find_job", "is_completed", "record"]
