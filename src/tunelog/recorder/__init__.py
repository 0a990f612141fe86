"""What a trainer holds: it spools snapshots on local disk, and has another process send them."""

from tunelog.recorder.current import checkpoint, event, finish, log, update
from tunelog.recorder.job import Recorder
from tunelog.recorder.start import init

__all__ = ["Recorder", "checkpoint", "event", "finish", "init", "log", "update"]
