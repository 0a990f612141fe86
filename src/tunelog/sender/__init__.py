"""Sends spools to a service: `python -m tunelog.sender SPOOL` for one, `sync` for a directory."""

from tunelog.sender.drain import Drain
from tunelog.sender.process import Sender
from tunelog.sender.syncing import SyncReport, sync

__all__ = ["Drain", "Sender", "SyncReport", "sync"]
