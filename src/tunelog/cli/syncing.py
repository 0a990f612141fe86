"""`tunelog sync`: send what recorders left in a spool directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tunelog.cli import options
from tunelog.config import DEFAULT_URL
from tunelog.recorder.spool import list_spools
from tunelog.recorder.start import spool_folder

Directory = Annotated[
    str,
    typer.Argument(
        metavar="[DIR]",
        envvar="TUNELOG_SPOOL",
        help="The spool directory; the recorder's own if not given.",
        show_default=False,
    ),
]


def sync(
    directory: Directory = "",
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Send what recorders left in a spool directory, from any machine, any number of times.

    Exit code 0 also when nothing was left; 1 when something could not be sent, which then stays.
    """
    from tunelog.sender import syncing

    folder = Path(directory or spool_folder(None))
    if directory and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no directory", param_hint="DIR")
    if not folder.is_dir() or not list_spools(str(folder)):
        if as_json:
            typer.echo(msgspec.json.encode(syncing.SyncReport()).decode())
        typer.echo(f"nothing is left in {folder}", err=True)
        return
    with options.connect(url, api_key) as store:
        report = syncing.sync(folder, lambda: store)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    for path in report.sent:
        typer.echo(f"{path}: sent", err=True)
    for path in report.open:
        typer.echo(f"{path}: sent so far, its training goes on", err=True)
    for path, reason in report.left:
        typer.echo(f"{path}: left: {reason}", err=True)
    if any(reason != syncing.BUSY for _, reason in report.left):
        raise typer.Exit(1)
