"""`tunelog shares`: links with which others read some jobs without a key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from tunelog.access import Share
from tunelog.cli import options
from tunelog.config import DEFAULT_URL
from tunelog.wire.access import share_fields

shares = typer.Typer(help="Make, list and revoke links with which others read some jobs.")

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _seconds(text: str) -> int:
    """`90s`, `30m`, `12h`, `7d` in seconds."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if found is None:
        raise typer.BadParameter("such as 12h or 7d is wanted (s, m, h, d)", param_hint="--for")
    return int(found[1]) * _UNITS[found[2]]


@shares.command("create")
def create_share(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB…", help="The jobs' ids, ft-….")],
    lifetime: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="TIME",
            envvar="TUNELOG_FOR",
            help="How long it is good, such as 12h or 7d.",
        ),
    ] = "7d",
    name: Annotated[
        str, typer.Option("--name", envvar="TUNELOG_NAME", help="What it is for.")
    ] = "",
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Make a link and print it, alone, on standard output; it is shown this once.

    Whoever has the link can read these jobs until it expires, and nothing else.
    """
    seconds = _seconds(lifetime)
    with options.connect(url, api_key) as store:
        share, token = store.create_share(jobs, seconds, name=name or None)
    address = f"{_origin(url)}/#share={token}"
    if json:
        typer.echo(_json({**share_fields(share), "token": token, "url": address}))
        return
    typer.echo(address)
    typer.echo(f"share {share.id} until {share_fields(share)['expires_at'][:16]}Z", err=True)


@shares.command("list")
def list_shares(
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """List the links of the key's project, ended ones too; never their tokens."""
    from tunelog.cli import screen

    with options.connect(url, api_key) as store:
        if json:
            screen.pass_through(store, "/shares", {})
            return
        found = store.shares()
    _print(found)


@shares.command("revoke")
def revoke_share(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="The link's id, sh-….")],
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Make a link useless at once."""
    with options.connect(url, api_key) as store:
        revoked = store.revoke_share(share)
    if json:
        typer.echo(_json(share_fields(revoked)))
        return
    typer.echo(f"{revoked.id} is revoked", err=True)


def _origin(url: str) -> str:
    return url.strip().rstrip("/").removesuffix("/v1")


def _json(fields: dict[str, object]) -> str:
    return msgspec.json.encode(fields).decode()


def _print(found: Sequence[Share]) -> None:
    from rich.table import Table

    from tunelog.cli import screen

    out = screen.console()
    if not found:
        out.print("no share links")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("ID", "NAME", "JOBS", "EXPIRES", "REVOKED"):
        table.add_column(title, overflow="fold")
    for fields in map(share_fields, found):
        table.add_row(
            fields["id"],
            screen.plain(fields["name"] or ""),
            screen.plain(" ".join(fields["jobs"])),
            fields["expires_at"][:19],
            (fields["revoked_at"] or "")[:19],
        )
    out.print(table)
