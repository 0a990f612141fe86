"""`tunelog sync`: send what recorders left in a spool directory, once or for as long as wanted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tunelog.cli import options
from tunelog.config import DEFAULT_URL
from tunelog.recorder.spool import list_spools
from tunelog.recorder.start import spool_folder

if TYPE_CHECKING:
    from tunelog.backends.remote import RemoteStore
    from tunelog.sender.following import Follower, News

_PATIENCE = 2.0

Directory = Annotated[
    str,
    typer.Argument(
        metavar="[DIR]",
        envvar="TUNELOG_SPOOL",
        help="The spool directory; the recorder's own if not given.",
        show_default=False,
    ),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow", envvar="TUNELOG_FOLLOW", help="Go on with what comes, until Ctrl-C or SIGTERM."
    ),
]


def sync(
    directory: Directory = "",
    follow: Follow = False,
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Send what recorders left in a spool directory, from any machine, any number of times.

    Exit code 0 also when nothing was left; 1 when something could not be sent, which then stays.
    """
    folder = Path(directory or spool_folder(None))
    if directory and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no directory", param_hint="DIR")
    if follow:
        with options.connect(url, api_key) as store:
            _follow(folder, store, as_json)
        return
    _sync_once(folder, as_json, url, api_key)


def _sync_once(folder: Path, as_json: bool, url: str, api_key: str) -> None:
    from tunelog.cli import screen
    from tunelog.sender import syncing

    if not folder.is_dir() or not list_spools(str(folder)):
        if as_json:
            typer.echo(msgspec.json.encode(syncing.SyncReport()).decode())
        typer.echo(f"nothing is left in {folder}", err=True)
        return
    total = sum(os.path.getsize(path) for path in list_spools(str(folder)))
    with options.connect(url, api_key) as store, screen.waiting("sending", total) as progress:
        report = syncing.sync(
            folder, lambda: store, lambda size: progress.advance(progress.task_ids[0], size)
        )
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


def _follow(folder: Path, store: RemoteStore, as_json: bool) -> None:
    """Send until someone has us stop; that is how it ends well."""
    from tunelog.sender.following import Follower

    follower = Follower(str(folder), store)
    told = _Told(as_json)
    stop = _Stop()
    try:
        typer.echo(f"sending what comes to {folder}, until Ctrl-C", err=True)
        while True:
            _look(follower, told, stop)
            told.tell_away(follower.away)
            stop.sleep(follower.pause())
    except KeyboardInterrupt:
        return


def _look(follower: Follower, told: _Told, stop: _Stop) -> None:
    from tunelog.cli import screen

    with screen.waiting("sending", follower.pending()) as progress:

        def advance(size: int) -> None:
            progress.advance(progress.task_ids[0], size)
            stop.heed()

        for news in follower.look(advance):
            told.tell_away("")
            told.tell(news)
            stop.heed()


class _Stop:
    """The wish to stop: heeded between two parts of a spool, after two seconds in any case."""

    def __init__(self) -> None:
        self._wished = self._idle = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, self._wish)

    def heed(self) -> None:
        """Raise `KeyboardInterrupt` if there is the wish."""
        if self._wished:
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait, but not with that wish."""
        self._idle = True
        self.heed()
        time.sleep(seconds)
        self._idle = False

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self._wished or self._idle:
            raise KeyboardInterrupt
        self._wished = True
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)


class _Told:
    """Says what becomes of each spool, and each thing once."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._said: dict[str, tuple[str, str]] = {}
        self._away = False

    def tell(self, news: News) -> None:
        """Say it, if it was not said."""
        if self._said.get(news.spool) == (news.state, news.reason):
            return
        self._said[news.spool] = (news.state, news.reason)
        if self._as_json:
            typer.echo(msgspec.json.encode(news).decode())
        words = {"sent": "sent", "open": "sent so far", "left": f"left: {news.reason}"}
        typer.echo(f"{news.spool}: {words[news.state]}", err=True)

    def tell_away(self, away: str) -> None:
        """Say that the service is away, and that it is back, once each."""
        if bool(away) != self._away:
            self._away = bool(away)
            typer.echo(
                f"tunelog: {away}; trying again until it is back"
                if away
                else "tunelog: the service is back",
                err=True,
            )
