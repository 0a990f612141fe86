"""One drill: a training, what is done to its surroundings meanwhile, and what has arrived after."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.commands import OK, run
from tests.recording import environment, until
from tests.serving import PATIENCE, Server

SCRIPT = Path(__file__).with_name("training.py")
STEPS = 300
"""Steps of each of the three phases."""

Snapshot = tuple[int, str, dict[str, float]]
"""A step, "train" or "eval", and the values as they were logged."""


@dataclass(frozen=True)
class Told:
    """What a training says of itself, once it has ended.

    Attributes:
        result: the trained model's hash.
        logged: the snapshots, in order.
        sent: what `finish()` answered.
        loop_seconds: what the training took, from `init` on, without `finish()`.
        finish_seconds: what `finish()` took.
        log_seconds: what each `log()` of a step took.
        step_seconds: what each step took, its `log()` included.
    """

    result: str
    logged: list[Snapshot]
    sent: bool
    loop_seconds: float
    finish_seconds: float
    log_seconds: list[float]
    step_seconds: list[float]


def told(folder: Path) -> Told:
    """What the training in a folder has told."""
    fields = json.loads((folder / "told.json").read_text())
    fields["logged"] = [tuple(snapshot) for snapshot in fields["logged"]]
    return Told(**fields)


def plain(folder: Path, *, steps: int = STEPS, pause: float = 0.0) -> Told:
    """The same training without a recorder."""
    command = [sys.executable, str(SCRIPT), str(folder), str(steps), str(pause)]
    subprocess.run(command, env=environment(folder), stdout=subprocess.DEVNULL, check=True)
    return told(folder)


@dataclass
class Drill:
    """A training that is under way, in a folder, and the service that it is to be recorded at.

    Attributes:
        server: the real service.
        folder: where the training keeps what it tells.
        spool: its spool directory.
        process: the training.
        job_id: its job.
        errors: what it said on standard error, once it has ended.
    """

    server: Server
    folder: Path
    spool: Path
    process: subprocess.Popen[str] = field(init=False)
    job_id: str = ""
    errors: str = ""

    @contextmanager
    def training(
        self, url: str = "", *, steps: int = STEPS, pause: float = 0.0, **variables: str
    ) -> Iterator[None]:
        """The training until it waits at the end of its first phase; killed if it is left running.

        `url` is what it takes for the service's address.
        """
        settings = {
            "TUNELOG_OFFLINE": "0",
            "TUNELOG_URL": url or self.server.url,
            "TUNELOG_API_KEY": self.server.api_key,
            "TUNELOG_GIVE_UP_AFTER": "0.5",
            "DRILL_RECORD": "1",
            "DRILL_WAIT": "0" if pause else "1",
            "DRILL_FINISH": "1",
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.folder), str(steps), str(pause)],
            env=environment(self.spool, **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with self.process:
            try:
                self.job_id = self._line()
                self.phase_ends()
                yield
            finally:
                if self.process.poll() is None:
                    self.process.kill()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def phase_ends(self) -> None:
        """Return when the training says so."""
        assert re.fullmatch(r"phase \d is done", self._line()), self.process.communicate()[1]

    def next_phase(self) -> None:
        """Have it go on with its next phase, and return at once."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def phase(self) -> None:
        """Have it do its next phase."""
        self.next_phase()
        self.phase_ends()

    def end(self) -> Told:
        """Have it do its last phase; it ends by itself, and well."""
        _, self.errors = self.process.communicate("\n", timeout=PATIENCE)
        assert self.process.returncode == 0, self.errors
        return told(self.folder)

    def logged(self) -> int:
        """How many of its calls of `log()` have returned."""
        count: int = struct.unpack("<q", (self.folder / "logged").read_bytes())[0]
        return count

    def kill_training(self) -> None:
        """Kill it, so that it has no chance to do anything more."""
        self.process.kill()
        _, self.errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == -signal.SIGKILL

    # ------------------------------------------------------------ after it

    def spools(self) -> list[Path]:
        """What is not yet sent."""
        return list(self.spool.glob("*.spool"))

    def sync(self) -> None:
        """`tunelog sync`, until there is nothing left; it never fails."""

        def all_is_sent() -> bool:
            done = run(self.server, "sync", str(self.spool))
            assert done.returncode == OK, done.stderr
            return not self.spools()

        until(all_is_sent, "everything to be sent")

    def arrived(self) -> list[Snapshot]:
        """What the service has, in order, each as often as it has it."""
        rows = self._ask("metrics", attempt="all", nonfinite="string")["metrics"]
        return [_as_logged(row) for row in rows]

    def status(self) -> str:
        """How the job stands."""
        return str(self._ask("")["status"])

    def messages(self) -> list[str]:
        """The job's events, in words."""
        return [event["message"] for event in self._ask("events")["data"]]

    def checkpoints(self) -> list[int]:
        """The steps at which the job has a checkpoint."""
        return [checkpoint["step"] for checkpoint in self._ask("checkpoints")["data"]]

    def _ask(self, what: str, **query: str) -> dict[str, Any]:
        with self.server.client() as client:
            path = f"/v1/fine-tunes/{self.job_id}/{what}".rstrip("/")
            answer: httpx2.Response = client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def _as_logged(row: dict[str, Any]) -> Snapshot:
    step = row.pop("train/global_step")
    row.pop("timestamp")
    (kind,) = {name.partition("/")[0] for name in row if not name.startswith("norm/")}
    values = {name.removeprefix(f"{kind}/"): value for name, value in row.items()}
    return step, kind, values
