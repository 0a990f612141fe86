"""One process that serves: uvicorn over the service, on a socket that listens already."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunelog.config import Settings
from tunelog.store import Backend

if TYPE_CHECKING:
    from tunelog.server.siblings import Sibling

_ALLOCATIONS = 20_000
"""After so many more objects were made than freed, garbage is looked for; Python's own is 700."""

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Worker:
    """A process of the service, which serves until it is told to stop."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        sibling: Sibling,
        lifeline: int | None = None,
    ) -> None:
        """`lifeline` is a descriptor that ends when the process does that this one depends on."""
        from tunelog.server import create_app

        self._server = _server(create_app(backend, settings, sibling=sibling), settings, lifeline)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Have a signal stop the server also before it runs.

        Once it has stopped because of one, uvicorn raises it again, which then does nothing.
        """
        before = {number: signal.signal(number, self._server.handle_exit) for number in STOPPING}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # a parent of workers waits for them
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, listener: socket.socket) -> None:
        """Serve. At a signal live tails end, then the requests under way are finished."""
        _look_for_garbage_seldom()
        self._server.run(sockets=[listener])


def _look_for_garbage_seldom() -> None:
    """What requests leave is freed as it is counted; hardly anything is a cycle.

    To look for cycles among all that a thousand requests under way hold takes a tenth of their
    time, by pauses in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)


def _server(app: Any, settings: Settings, lifeline: int | None) -> Any:
    import uvicorn

    from tunelog.server.connections import Connection, LibraryWords
    from tunelog.server.observe import log_to_stderr

    logging.basicConfig(handlers=[LibraryWords(log_to_stderr)])

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            app.state.service.stopping.set()
            super().handle_exit(sig, frame)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if lifeline is not None:
                asyncio.get_running_loop().add_reader(lifeline, self._cut_off, lifeline)

        def _cut_off(self, lifeline: int) -> None:
            asyncio.get_running_loop().remove_reader(lifeline)
            self.handle_exit(signal.SIGTERM, None)

    return Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
        )
    )
