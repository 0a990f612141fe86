"""Servers of the benchmark: what they start is counted with them, and ended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.clients import Connection, get
from bench.processes import ServerProcess

SERVER = """
import http.server, subprocess, sys
child = "import time; held = bytearray(60_000_000); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
child.stdout.readline()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(child.pid).encode()
        held = bytearray(80_000_000) if self.path == "/large" else None
        if held:
            import time; time.sleep(0.1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def server() -> ServerProcess:
    return ServerProcess([sys.executable, "-c", SERVER], "/ready")


def test_memory_and_end_are_those_of_the_server_and_of_all_that_it_started() -> None:
    with server() as running:
        with Connection(running.port, keep=True) as connection:
            child = int(connection.ask(get("/")).body)
        held = running.memory()
        assert runs(child)

    assert held > 60_000_000
    assert not runs(child)


def test_what_a_request_takes_is_told_beyond_what_was_there_before() -> None:
    with server() as running, Connection(running.port) as connection:
        with running.watched() as most:
            connection.ask(get("/large"))
        assert 80_000_000 < most[0] < 100_000_000


def test_a_command_that_is_no_server_is_said_and_leaves_nothing() -> None:
    with (
        pytest.raises(RuntimeError, match="did not start"),
        ServerProcess([sys.executable, "-c", "raise SystemExit(3)"], "/ready"),
    ):
        pass
