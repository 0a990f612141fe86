"""`tunelog demo`: a service, a real training recorded at it, and what is read back from it."""

from __future__ import annotations

import math
import shlex
import shutil
import signal
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunelog import config
from tunelog.errors import StoreError

if TYPE_CHECKING:
    from tunelog.cli.demo_training import Recorded
    from tunelog.cli.service import ServiceProcess


def demo(
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=1, envvar="TUNELOG_SECONDS", help="How long to train."),
    ] = 60,
    host: Annotated[
        str, typer.Option("--host", envvar="TUNELOG_HOST", help="The address to listen on.")
    ] = config.DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            envvar="TUNELOG_PORT",
            help="The port to listen on; 0 takes a free one.",
        ),
    ] = config.DEFAULT_PORT,
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="TUNELOG_STORE",
            help="Keep everything in this store: sqlite:///relative.db or sqlite:////absolute.db.",
            show_default="a new one, removed at the end",
        ),
    ] = "",
    exit: Annotated[
        bool, typer.Option("--exit", envvar="TUNELOG_EXIT", help="End after the training.")
    ] = False,
) -> None:
    """Train a small language model, record it, and read its metrics back.

    The training is real: gradient descent on English text that comes with Python. Afterwards the
    service stays until Ctrl-C, to be looked at, also with Together's own clients. Exit code 0.
    """
    from tunelog.cli import demo_training
    from tunelog.cli.service import ServiceProcess

    with _terminable(), _folder(keep=bool(store)) as folder:
        url = store or f"sqlite:///{folder / 'tunelog.db'}"
        with ServiceProcess(host, port, url, folder) as service:
            _say(f"The service runs at {service.url}")
            if service.link:
                _say("Its page, signed in (once, for 10 minutes):", service.link)
            _say(f"Training for {seconds:g} s, every step recorded", "")
            recorded = demo_training.record(service.url, service.api_key, seconds, folder)
            _read_back(service, recorded)
            if exit:
                return
            _invite(service, recorded.job_id, kept=bool(store))
            with _quietly_interrupted():
                service.wait()


def _read_back(service: ServiceProcess, recorded: Recorded) -> None:
    """Show what the service answers; that it is what was logged is checked, value by value."""
    from tunelog.cli import options, reading, show
    from tunelog.model import ALL

    if not recorded.sent:
        raise StoreError("not everything was acknowledged by the service within a minute")
    _say("", "Read back through the API:", "")
    with options.connect(service.url, service.api_key) as store:
        reading.draw(store, recorded.job_id, ALL)
        points = show.read_points(store.read(recorded.job_id))
    for name, logged in recorded.losses.items():
        if points.get(name) != logged:
            raise StoreError(f"{name}: what was read back is not what was logged")
    _say("")
    _print_table(_results(recorded))
    _say("", "What the model writes now:", "")
    _say(*_sample(recorded))


def _results(recorded: Recorded) -> dict[str, str]:
    """What came of the training."""
    trained, losses = recorded.trained, recorded.losses
    counted = trained.data.unigram_entropy()
    return {
        "steps": f"{trained.steps:,} in {recorded.seconds:.0f} s",
        "parameters": f"{trained.network.size:,}",
        "snapshots": f"{sum(map(len, losses.values())):,} logged and read back, losses the same",
        "eval loss": f"{losses['eval/loss'][0][1]:.3f} before, {trained.eval_loss:.3f} after "
        f"({trained.eval_loss / math.log(2):.2f} bits a character)",
        "baseline": f"{counted:.3f}, from how often each character occurs",
    }


def _invite(service: ServiceProcess, job_id: str, *, kept: bool) -> None:
    """What to try now."""
    key = shlex.quote(service.api_key)
    _say(
        "",
        f"The page: {service.url} (sign in with the key below)",
        f"Documentation: {service.url}/docs",
        "",
        "In another terminal, Together's own CLI:",
        "",
        "  pip install together",
        f"  export TOGETHER_BASE_URL={service.url}",
        f"  export TOGETHER_API_KEY={key}",
        "  tg ft list",
        f"  tg ft list-metrics {job_id}",
        "",
        "and tunelog's:",
        "",
        f"  export TUNELOG_URL={service.url}",
        f"  export TUNELOG_API_KEY={key}",
        f"  tunelog metrics {job_id}",
        "",
        "The service runs until Ctrl-C."
        if kept
        else "The service runs until Ctrl-C, then all\nis removed; --store keeps it.",
    )


# ---------------------------------------------------------------- words


def _say(*lines: str) -> None:
    for line in lines:
        typer.echo(line)


def _print_table(rows: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _sample(recorded: Recorded) -> list[str]:
    from tunelog.cli.screen import chart_width
    from tunelog.demo import sample

    width, indent = min(chart_width(), 80), "  "
    written = sample(recorded.trained, "The ", 300, seed=3).replace("\n\n", " ¶ ")
    return textwrap.wrap(written, width, initial_indent=indent, subsequent_indent=indent)


# ---------------------------------------------------------------- beginning and ending


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A directory for the store, the spool, the checkpoints and the service's log."""
    folder = Path(tempfile.mkdtemp(prefix="tunelog-demo-"))
    try:
        yield folder
    finally:
        if keep:
            _say(f"Checkpoints and the service's log are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Clean up after SIGTERM and a closed terminal, too."""

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quietly_interrupted() -> Iterator[None]:
    """Being stopped is how the demo is meant to end."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        return
