"""What recording costs a training: a call of `log()`, memory, import; and beside it, its peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from bench.beside import ENVIRONMENTS, version
from bench.figures import Figure, Section, Spread, figure, shown
from bench.goals import Goal
from bench.machine import Load, machine
from bench.processes import tunelog_server
from tests.drills.front import Front
from tunelog import init
from tunelog.backends.remote import RemoteStore
from tunelog.backends.sqlite import SqliteBackend
from tunelog.sender import sync

_ROOT = Path(__file__).parents[1]
LOGS = Path(__file__).with_name("logs.py")
CALLS = 2_000
ROUNDS = 3
LOG_GOAL = Goal("≤", 10e-6)
LOG_P99_GOAL = Goal("≤", 50e-6)
IMPORT_GOAL = Goal("≤", 50e-3)
MEMORY_GOAL = Goal("≤", 5e6)
DRAIN_GOAL = Goal("≥", 20_000)
DRAINED = 100_000
HEAVY = ("msgspec", "httpx2", "numpy", "sqlite3", "asyncio", "ssl", "starlette", "uvicorn")
"""None of these may be loaded by `import tunelog`."""

Logged = dict[str, Any]
"""What a process of logs.py tells."""


def measure(folder: Path) -> Section:
    """The figures of the recorder and of its peers, all in one run."""
    load = Load()
    figures = [_import_time()]
    key = _key(folder / "recorder.db")
    with tunelog_server(folder / "recorder.db") as server:
        url = f"http://127.0.0.1:{server.port}"
        figures += _states(folder, url, key)
        figures.append(_drain(folder, url, key))
    figures += _peers(folder)
    return Section(f"Recorder, {date.today()}", figures, machine(), load.so_far())


# ---------------------------------------------------------------- import


def _import_time() -> Figure:
    """Fresh processes that import tunelog against fresh ones that import nothing."""
    _run_seconds("import tunelog")  # has its bytecode written
    pairs = [(_run_seconds("pass"), _run_seconds("import tunelog")) for _ in range(25)]
    bare = median(seconds for seconds, _ in pairs)
    seconds = [with_it - without for without, with_it in pairs]
    loaded = f"import sys, tunelog; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout
    return figure(
        "import tunelog",
        "s",
        seconds,
        goals=[IMPORT_GOAL],
        note=f"beyond Python's start ({shown(bare, unit='s')}); of {', '.join(HEAVY)} "
        f"it loads {found.strip()}",
    )


def _run_seconds(script: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    return time.perf_counter() - begun


# ---------------------------------------------------------------- log()


def _states(folder: Path, url: str, key: str) -> Iterator[Figure]:
    """`log()` under each state of the service, round by round, so that all see the same machine."""
    rounds: dict[str, list[Logged]] = {}
    for turn in range(ROUNDS):
        for state in ("absent", "fine", "never answering", "500s", "slow"):
            place = folder / f"{state}-{turn}".replace(" ", "-")
            place.mkdir()
            with _in_state(state, url) as address:
                told = _logged(sys.executable, "tunelog", place, _variables(address, key))
            rounds.setdefault(state, []).append(told)
    for state, of_state in rounds.items():
        yield from _calls(f"tunelog, service {state}", of_state, is_ours=True)
    fine = rounds["fine"]
    memory = [told["memory"] for told in fine]
    yield figure(
        "tunelog, trainer's memory", "B", memory, goals=[MEMORY_GOAL], note=_beyond_numpy()
    )


def _beyond_numpy() -> str:
    return "peak after the last log(), beyond what a process with numpy has"


@contextmanager
def _in_state(state: str, url: str) -> Iterator[str]:
    """The address of a service in a state."""
    with Front(url) as front:
        if state == "fine":
            yield url
            return
        front.is_mute = state == "never answering"
        front.answers = 500 if state == "500s" else 0
        front.delay = 1.0 if state == "slow" else 0.0
        if state != "absent":
            yield front.url
            return
        address = front.url
    yield address


def _variables(address: str, key: str) -> dict[str, str]:
    return {
        "TUNELOG_URL": address,
        "TUNELOG_API_KEY": key,
        "TUNELOG_GIVE_UP_AFTER": "0",
        "PYTHONPATH": str(_ROOT / "src"),
    }


def _logged(python: str, tool: str, folder: Path, variables: Mapping[str, str]) -> Logged:
    """Run logs.py with a tool."""
    inherited = {name: value for name, value in os.environ.items() if "TUNELOG" not in name}
    done = subprocess.run(
        [python, str(LOGS), tool, str(CALLS), str(folder)],
        cwd=folder,
        env={**inherited, "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{tool}: {done.stderr[-2000:]}")
    told: Logged = json.loads(done.stdout.splitlines()[-1])
    return told


def _calls(name: str, rounds: Sequence[Logged], *, is_ours: bool) -> Iterator[Figure]:
    """The figure of ten values a call: p50 as the median of all calls, and what the run took."""
    seconds = [second for told in rounds for second in told["seconds"]]
    spread = Spread.of(seconds)
    parts = ", ".join(
        f"{what} {shown(median(told[part] for told in rounds), unit='s')}"
        for what, part in (("begin", "begin"), ("all calls", "logging"), ("end", "end"))
    )
    verdict = ""
    if is_ours:
        met = "met" if LOG_P99_GOAL.met(spread.p99) else "missed"
        verdict = f"; p99 {LOG_P99_GOAL.sign} {shown(LOG_P99_GOAL.value, unit='s')}: {met}"
    yield figure(name, "s", seconds, goals=[LOG_GOAL] if is_ours else [], note=f"{parts}{verdict}")


# ---------------------------------------------------------------- the sender


def _key(path: Path) -> str:
    backend = SqliteBackend(path)
    _, key = backend.create_key(backend.create_project("default"), ["admin"])
    backend.close()
    return key


def _drain(folder: Path, url: str, key: str) -> Figure:
    """A backlog of snapshots of ten values, sent to a local service."""
    rates, cpu = [], []
    for turn in range(ROUNDS):
        spool = folder / f"backlog-{turn}"
        values = {f"metric_{number}": 0.1 for number in range(10)}
        job = init("Qwen/Qwen3-0.6B", spool=spool, offline=True)
        for step in range(DRAINED):
            values["metric_0"] = 1.0 / (step + 1)
            job.log(values, step=step)
        job.finish(timeout=0)
        store = RemoteStore(url, key)
        begun, cpu_begun = time.perf_counter(), time.process_time()
        report = sync(spool, lambda store=store: store)  # type: ignore[misc]
        rates.append(DRAINED / (time.perf_counter() - begun))
        cpu.append((time.process_time() - cpu_begun) / DRAINED)
        store.close()
        if report.snapshots != DRAINED or report.left:
            raise RuntimeError(f"not all was sent: {report}")
    return figure(
        "sender drains a backlog",
        "/s",
        rates,
        goals=[DRAIN_GOAL],
        cpu=median(cpu),
        note=f"{DRAINED:,} snapshots of ten values, to a service on the same machine",
    )


# ---------------------------------------------------------------- peers


def _peers(folder: Path) -> Iterator[Figure]:
    """Those that are installed; TensorBoard by the SummaryWriter of PyTorch, which is with it."""
    environments = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
    for tool, environment in {**environments, "tensorboard": "torch"}.items():
        python = ENVIRONMENTS / environment / "bin" / "python"
        if not python.exists():
            print(f"  no {python}: scripts/peers {environment}", file=sys.stderr)
            continue
        rounds = []
        for turn in range(ROUNDS):
            place = folder / f"{tool}-{turn}"
            place.mkdir()
            rounds.append(_logged(str(python), tool, place, {}))
        yield from _calls(f"{tool} {version(tool, python)}", rounds, is_ours=False)
        memory = [told["memory"] for told in rounds]
        note = "PyTorch among it" if tool == "tensorboard" else ""
        yield figure(f"{tool}, trainer's memory", "B", memory, note=note)
