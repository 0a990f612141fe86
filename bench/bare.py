"""The yardstick for HTTP: bare uvicorn, with uvloop and httptools, and bytes from memory.

`python -m bench.bare FOLDER PORT` answers GET /NAME with the file's bytes, read once, and any POST,
its body taken whole, with a receipt.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn

RECEIPT = b'{"stored":1000,"duplicates":0,"status":"running"}'

Message = dict[str, Any]


def application(folder: Path) -> Callable[..., Awaitable[None]]:
    """The ASGI application."""

    @cache
    def held(name: str) -> bytes:
        return (folder / name).read_bytes() if name else b"ready"

    async def app(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
            body = RECEIPT
        else:
            body = held(scope["path"].lstrip("/"))
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def main(folder: str, port: str) -> None:
    """Serve until SIGTERM."""
    config = uvicorn.Config(
        application(Path(folder)),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(
        uvicorn.Server(config).serve(sockets=[listener])
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
