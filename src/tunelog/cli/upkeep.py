"""`tunelog migrate` and `tunelog doctor`: what sets a store up, and looks after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import typer

from tunelog.backends import is_clickhouse, shown
from tunelog.backends import migrate as migrate_store
from tunelog.cli.serving import Json
from tunelog.cli.stores import StoreUrl, one_line_errors, store_url

if TYPE_CHECKING:
    from tunelog.backends.clickhouse.doctor import Examined


def migrate(store: StoreUrl = "") -> None:
    """Bring a store to the newest layout, making it if it is not there.

    A ClickHouse store wants this once before the first `serve`, and after an upgrade that says so;
    it is safe to run again, and from several machines at once. A SQLite store does it by itself.
    """
    url = store_url(store)
    with one_line_errors():
        typer.echo(f"{shown(url)}: {migrate_store(url)}")


def doctor(store: StoreUrl = "", json: Json = False) -> None:
    """Look whether all is well with the servers of a ClickHouse store.

    On each it looks at version, clock, settings, disk, the session with ZooKeeper or Keeper, the
    tables, the replicas and how far they are behind. Exit code 1 if anything is wrong.
    """
    from tunelog.backends.clickhouse.doctor import examine
    from tunelog.cli import screen

    url = store_url(store)
    if not is_clickhouse(url):
        raise typer.BadParameter(
            f"{shown(url)} has no servers to look at; a clickhouse://… URL is wanted",
            param_hint="--store",
        )
    with one_line_errors(), screen.waiting("asking the servers"):
        examined = list(examine(url))
    complaints = [each.wrong for server in examined for each in server.findings if each.wrong]
    if json:
        typer.echo(msgspec.json.encode(examined))
    else:
        _print_examined(examined)
    for complaint in complaints:
        typer.echo(screen.plain(complaint), err=True)
    if complaints:
        raise typer.Exit(1)


def _print_examined(examined: Sequence[Examined]) -> None:
    """A line a server; what is wrong stands out."""
    from rich.table import Table
    from rich.text import Text

    from tunelog.backends.clickhouse.doctor import LOOKS
    from tunelog.cli import screen

    table = Table(box=None, pad_edge=False)
    for title in ("SHARD", "SERVER", *(look.upper() for look in LOOKS)):
        table.add_column(title, overflow="fold")
    for server in examined:
        cells = [
            Text(each.found or "wrong", "bold red" if each.wrong else "")
            for each in server.findings
        ]
        table.add_row(str(server.shard), server.server, *cells)
    screen.console().print(table)
