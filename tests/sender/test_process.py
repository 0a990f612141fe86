"""The sender as a process beside its training."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.recording import PATIENCE, environment, only_spool, senders, train, training, until
from tests.sender.sending import record
from tunelog.backends.memory import MemoryStore
from tunelog.recorder.spool import STATE
from tunelog.recorder.state import StateFile
from tunelog.sender import sync

NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""


def test_the_process_leaves_the_spool_when_it_gives_up(spool: Path) -> None:
    record(spool)
    path = only_spool(spool)
    variables = environment(spool, TUNELOG_URL=NOWHERE, TUNELOG_GIVE_UP_AFTER="0.3")
    command = [sys.executable, "-m", "tunelog.sender", str(path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 75
    assert done.stderr.count("cannot be reached") == 1
    assert path.exists()


def test_the_process_says_what_is_wrong_with_its_settings(spool: Path) -> None:
    record(spool)
    path = only_spool(spool)
    command = [sys.executable, "-m", "tunelog.sender", str(path)]
    variables = environment(spool, TUNELOG_URL="ftp://here")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "'ftp://here' is not the address of a service" in done.stderr
    state = StateFile(f"{path}{STATE}")
    assert state.read().blocked
    state.close()


def test_a_training_without_a_key_is_kept_for_later(spool: Path, store: MemoryStore) -> None:
    variables = environment(spool, TUNELOG_OFFLINE="0", TUNELOG_API_KEY="")
    done = train('import tunelog; tunelog.init("m", job_id="ft-1").finish()', variables)
    assert "no API key was given" in done.stderr
    assert sync(spool, lambda: store).sent
    assert store.job("ft-1").status == "completed"


def test_the_process_outlives_its_training_and_holds_none_of_its_files(spool: Path) -> None:
    script = """
import os, socket, tunelog
listening = socket.socket()
os.set_inheritable(listening.fileno(), True)
listening.bind(("127.0.0.1", 0)); listening.listen()
job = tunelog.init("m")
job.log({"loss": 1.0}, step=1)
print(job.finish(timeout=0.5), flush=True)
print(listening.getsockname()[1], flush=True)
input()
"""
    variables = environment(
        spool, TUNELOG_OFFLINE="0", TUNELOG_URL=NOWHERE, TUNELOG_GIVE_UP_AFTER="3"
    )
    with training(script, variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"
        port = int(process.stdout.readline())
        path = only_spool(spool)
        log = Path(f"{path}.log")
        until(lambda: "cannot be reached" in log.read_text(), "the first try")
        process.communicate("\n", timeout=PATIENCE)
        assert senders(path)  # it is still there
        with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler):
            pass  # and the port is free
    until(lambda: not senders(path), "the sender to give up")
    assert path.exists()


@pytest.fixture
def refusing_service() -> Iterator[str]:
    """A service that answers 401 to everything."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"error": {"message": "no such key", "type": "x", "param": null}}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_finish_does_not_wait_for_a_service_that_refuses_the_key(
    spool: Path, refusing_service: str
) -> None:
    script = """
import tunelog
job = tunelog.init("m")
job.log({"loss": 1.0}, step=1)
print(job.finish(timeout=30))
"""
    variables = environment(
        spool, TUNELOG_OFFLINE="0", TUNELOG_URL=refusing_service, TUNELOG_GIVE_UP_AFTER="0.1"
    )
    begun = time.monotonic()
    done = train(script, variables)
    assert time.monotonic() - begun < 25
    assert done.stdout == "False\n"
    assert "no such key" in done.stderr
    path = only_spool(spool)
    assert path.exists()
