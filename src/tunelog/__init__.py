"""tunelog records the training metrics of fine-tuning jobs and serves them."""

from tunelog.recorder import Recorder, checkpoint, event, finish, init, log, update

__version__ = "0.1.0"

__all__ = ["Recorder", "checkpoint", "event", "finish", "init", "log", "update"]
