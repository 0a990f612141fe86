"""A recorder's side of the sending: its spool, the state beside it, and the sender process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from tunelog.recorder.launch import SenderProcess
from tunelog.recorder.losses import say
from tunelog.recorder.spool import STATE, SpoolWriter, spool_path
from tunelog.recorder.state import State, StateFile

_POLL = 0.01


class Outbox:
    """Takes records, and has them sent. One process's, but of all its threads."""

    def __init__(
        self, folder: str, job_id: str, token: str, environment: Mapping[str, str] | None
    ) -> None:
        """Makes a spool in `folder`. Raises `OSError`.

        `environment` has the service's address and key for the sender; None starts no sender.
        """
        folder = os.path.abspath(folder)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.path = spool_path(folder, job_id, token)
        self._writer = SpoolWriter(self.path)
        self.put = self._writer.write
        try:
            self._state = StateFile(self.path + STATE)
        except OSError:
            self._writer.close()
            os.unlink(self.path)
            raise
        self._sender = None if environment is None else SenderProcess(self.path, environment)
        self._last = State()
        self._said_blocked = False

    @property
    def sends(self) -> bool:
        """Whether there is a sender, or should be one."""
        return self._sender is not None

    def sync(self) -> None:
        """Return when all of it is on stable storage. Raises `OSError`."""
        self._writer.sync()

    def state(self) -> State:
        """How far it was sent, and what came back."""
        if self._state is not None:
            self._last = self._state.read()
        return self._last

    def look_after(self) -> None:
        """See to it that a sender runs, and say once if the service does not let it in."""
        if self._sender is not None:
            try:
                self._sender.keep_running(time.monotonic())
            except (OSError, NotImplementedError) as error:
                say(f"no sender could be started, all is kept in {self.path}: {error}")
                self._sender = None
        state = self.state()
        if state.blocked and not self._said_blocked:
            self._said_blocked = True
            say(f"nothing is sent at the moment, all is kept in {self.path}: {state.error}")

    def close(self, timeout: float) -> bool:
        """Add no more, and wait until all is acknowledged, at most `timeout` seconds.

        Answers whether it is. The sender goes on with the rest.
        """
        end = self._writer.size()
        self._writer.close()
        deadline = time.monotonic() + timeout
        try:
            while not self._is_acknowledged(end):
                if self._sender is None or self.state().blocked or time.monotonic() >= deadline:
                    return False
                self.look_after()
                time.sleep(_POLL)
            return True
        finally:
            self._say_what_is_left(end)
            self._state.close()

    def disown(self) -> None:
        """Let go of everything in a forked child; what is on disk is the parent's."""
        self._writer.disown()
        self._state.close()
        self._sender = None

    def _is_acknowledged(self, end: int) -> bool:
        state = self.state()
        return state.done or state.acknowledged >= end

    def _say_what_is_left(self, end: int) -> None:
        if self._is_acknowledged(end):
            return
        state = self.state()
        why = f" ({state.error})" if state.error else ""
        if self._sender is None or state.blocked:
            sync = f"`tunelog sync {os.path.dirname(self.path)}`"
            say(f"not all is sent{why}; it is kept in {self.path}, and {sync} sends it")
        else:
            say(f"not all is sent yet{why}; {self.path} is sent in the background")
