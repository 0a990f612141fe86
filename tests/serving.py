"""A real tunelog server as a child process, and a job with a history to ask it for."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import httpx2
import pytest

COMMAND: Sequence[str] = (sys.executable, "-m", "tunelog")
PATIENCE = 30.0
"""Seconds after which something that should have happened is taken to have failed."""

Row = dict[str, Any]


def require(condition: object, reason: str) -> None:
    """Skips the test for this reason; under CI=true, where nothing may be missing, fails it."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Request(NamedTuple):
    """A line of the access log."""

    method: str
    path: str
    status: int


class _Lines:
    """What a stream has said so far, line by line."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def _follow(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def now(self) -> list[str]:
        with self._news:
            return list(self._lines)

    def until(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """The lines as soon as they are enough, or when no more will come or patience ends."""
        with self._news:
            self._news.wait_for(lambda: self._ended or enough(self._lines), PATIENCE)
            return list(self._lines)


class Server:
    """`tunelog serve` over an SQLite store in `folder`, on a free port of this machine.

    Started by `with` or `start()`; can be stopped, killed and started again, each time on the same
    store, port and key.

    Attributes:
        url: its address, without a slash at the end.
        api_key: the key that its first start printed.
        printed: what its last start wrote to standard output.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        store: str | None = None,
        api_key: str = "",
    ) -> None:
        """`options` are further flags of `serve`, `environment` further variables.

        A store that others serve, too, is named by its URL, and a key of it is known already.
        """
        self.url = ""
        self.api_key = api_key
        self.store = store or f"sqlite:///{folder.absolute() / 'tunelog.db'}"
        self._options = options
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TUNELOG_", "TOGETHER_", "XDG_"))
        }
        self._environment = {**inherited, "HOME": str(folder), **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._output: _Lines | None = None
        self._log: _Lines | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._running.poll() is None:
            self.kill()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Starts it and returns when it is ready."""
        port = self.url.rpartition(":")[2] or "0"
        where = ("--host", "127.0.0.1", "--port", port, "--store", self.store)
        self._process = subprocess.Popen(
            [*COMMAND, "serve", *where, *self._options],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output = _Lines(self._process.stdout)
        self._log = _Lines(self._process.stderr)
        self._output.until(self._has_introduced_itself)
        if not (self._has_introduced_itself(self.printed) and self._says_that_it_is_ready()):
            self.kill()
            said = "\n".join(self.printed + self.log)
            raise RuntimeError(f"`tunelog serve` did not start:\n{said}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to end and answers its exit code."""
        self._running.send_signal(with_signal)
        return self._ended()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self._ended()

    def kill(self) -> None:
        """Ends it without a chance to do anything more."""
        self._running.kill()
        self._ended()

    def restart(self) -> None:
        """Stops it, if it runs, and starts it again on the same store and port."""
        if self._running.poll() is None:
            self.stop()
        self.start()

    def _ended(self) -> int:
        """Its exit code, once it has ended and its last words are in `printed` and `log`."""
        code = self._running.wait(PATIENCE)
        for stream in (self._output, self._log):
            assert stream is not None
            stream.until(lambda _: False)
        return code

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server was never started"
        return self._process

    def _has_introduced_itself(self, lines: list[str]) -> bool:
        said = "\n".join(lines)
        address = re.search(
            r"^export TOGETHER_BASE_URL=(\S+)|\bat (http://\S+)", said, re.MULTILINE
        )
        key = re.search(r"^export TOGETHER_API_KEY=(\S+)", said, re.MULTILINE)
        if address:
            self.url = (address[1] or address[2]).rstrip("/.")
        if key:
            self.api_key = key[1]
        return bool(address and self.api_key)

    def _says_that_it_is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/readyz", timeout=PATIENCE).status_code == 200

    # ------------------------------------------------------------ words

    @property
    def printed(self) -> list[str]:
        """Standard output since the last start."""
        assert self._output is not None
        return self._output.now()

    @property
    def log(self) -> list[str]:
        """Standard error since the last start."""
        assert self._log is not None
        return self._log.now()

    @property
    def link(self) -> str:
        """The one-time link to sign in with, which its last start printed last."""
        assert self._output is not None
        return self._output.until(lambda lines: any("/sign-in?" in line for line in lines))[-1]

    def wait_for_log(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """Standard error since the last start, as soon as it is enough."""
        assert self._log is not None
        lines = self._log.until(enough)
        assert enough(lines), "\n".join(lines)
        return lines

    @contextmanager
    def requests(self) -> Iterator[list[Request]]:
        """Fills a list with the requests that arrive meanwhile, in the order of the access log."""
        arrived: list[Request] = []
        begin = self._mark()
        yield arrived
        end = self._mark()
        for line in self.log[begin + 1 : end]:
            entry = json.loads(line)
            if "path" in entry:
                arrived.append(Request(entry["method"], entry["path"], entry["status"]))

    def _mark(self) -> int:
        """Leaves a request of its own in the access log and answers the number of its line."""
        mark = f"ft-mark-{uuid.uuid4()}"
        with self.client() as api:
            api.get(f"/v1/fine-tunes/{mark}")
        lines = self.wait_for_log(lambda lines: any(mark in line for line in lines))
        return next(i for i, line in enumerate(lines) if mark in line)

    def client(self) -> httpx2.Client:
        """A client with its address and key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=PATIENCE,
            verify=False,  # it speaks plain HTTP, and certificates take 80 ms to load
        )


# ---------------------------------------------------------------- a job with a history

NS = 1_000_000_000
BEGIN = 1_767_225_600 * NS
"""2026-01-01T00:00:00Z: ten seconds before the recorded run logs its first step."""


DETAILS: Mapping[str, Any] = {
    "suffix": "my-run",
    "n_epochs": 2,
    "batch_size": 8,
    "learning_rate": 2e-4,
    "lr_scheduler": {"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.1}},
    "training_method": {"method": "sft", "train_on_inputs": "auto"},
    "training_type": {"type": "Lora", "lora_r": 8, "lora_alpha": 16},
}
"""What the owner of a recorded job says of it."""


@dataclass(frozen=True)
class RecordedJob:
    """A job and what was posted of it.

    Attributes:
        id: `ft-…`.
        rows: the rows as they were posted, in chronological order.
    """

    id: str
    rows: list[Row] = field(default_factory=list)

    @property
    def shown(self) -> list[Row]:
        """The rows as the API answers them by default: a non-finite value is left out, counted."""
        return [_finite(row) for row in self.rows]


def training_rows(steps: int = 40, *, nan_at: int | None = 27) -> list[Row]:
    """A run as a trainer logs it: a snapshot every 10 s, evaluated every 10 steps half a second on.

    The loss falls, the learning rate warms up and decays, and one gradient norm is NaN.
    """
    rows: list[Row] = []
    for step in range(1, steps + 1):
        logged_at = BEGIN + 10 * NS * step
        loss = 0.6 + 2.4 / (1 + step / 6) + 0.05 * math.sin(step)
        train: Row = {
            "timestamp": logged_at,
            "train/global_step": step,
            "train/epoch": 2 * step / steps,
            "train/loss": round(loss, 4),
            "train/learning_rate": 2e-4 * min(step / 5, (steps - step) / (steps - 5)),
            "train/grad_norm": "NaN" if step == nan_at else round(1.5 + 6 / step, 4),
        }
        rows.append(train)
        if step % 10 == 0:
            rows.append(
                {
                    "timestamp": logged_at + NS // 2,
                    "train/global_step": step,
                    "eval/loss": round(loss + 0.1, 4),
                    "eval/accuracy": round(1 - loss / 4, 4),
                }
            )
    return rows


def create_job(api: httpx2.Client, **details: Any) -> RecordedJob:
    """Registers a job; it is pending and has no history."""
    answer = _done(api.post("/v1/fine-tunes", json={"model": "Qwen/Qwen3-0.6B", **details}))
    return RecordedJob(id=answer["id"])


def record_job(
    api: httpx2.Client, rows: Sequence[Row] | None = None, **changes: Any
) -> RecordedJob:
    """Registers a job and records a run: metrics, events, two checkpoints.

    `changes` are what the trainer says at the end, such as `status="completed"`; without them the
    job is left running.
    """
    job = RecordedJob(
        id=create_job(api, **DETAILS).id,
        rows=list(training_rows() if rows is None else rows),
    )
    at = f"/v1/fine-tunes/{job.id}"
    _done(api.post(f"{at}/events", json={"type": "training_start", "message": "Training started"}))
    _done(api.post(f"{at}/metrics", json={"metrics": job.rows}))
    for step in (20, 40):
        _done(api.post(f"{at}/checkpoints", json={"step": step, "path": f"out/checkpoint-{step}"}))
        event = {"type": "checkpoint_save", "message": f"Saved step {step}", "step": step}
        _done(api.post(f"{at}/events", json=event))
    if changes:
        _done(api.patch(at, json=changes))
    return job


def _finite(row: Row) -> Row:
    finite = {key: value for key, value in row.items() if not isinstance(value, str)}
    if len(finite) < len(row):
        kind = "eval" if any(key.startswith("eval/") for key in row) else "train"
        finite[f"{kind}/nonfinite"] = len(row) - len(finite)
    return finite


def _done(response: httpx2.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()
