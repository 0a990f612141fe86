"""`tunelog serve` and `tunelog keys`: what administers a store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from tunelog import __version__, config
from tunelog.access import ApiKey, Scope
from tunelog.backends import open_backend, shown
from tunelog.cli.stores import (
    StoreUrl,
    fail,
    one_line_errors,
    opened,
    sole_user,
    store_path,
    store_url,
)
from tunelog.cli.worker import Worker
from tunelog.cli.workers import CANNOT_START, Workers
from tunelog.errors import StoreUnusable, TunelogError
from tunelog.store import Backend
from tunelog.wire.times import format_time

DEFAULT_PROJECT = "default"
_SCOPES = ("read", "write", "admin")

keys = typer.Typer(help="Create, list and revoke API keys; also while a server runs.")


def _setting(name: str) -> Any:
    """The flag of a setting, from the one table."""
    return typer.Option(
        "--" + name.replace("_", "-"),
        envvar=f"TUNELOG_{name.upper()}",
        help=config.HELP[name],
        min=1,
    )


Json = Annotated[bool, typer.Option("--json", envvar="TUNELOG_JSON", help="Print JSON.")]


def serve(
    host: Annotated[
        str, typer.Option(envvar="TUNELOG_HOST", help="The address to listen on.")
    ] = config.DEFAULT_HOST,
    port: Annotated[
        int, typer.Option(envvar="TUNELOG_PORT", help="The port to listen on; 0 takes a free one.")
    ] = config.DEFAULT_PORT,
    store: StoreUrl = "",
    workers: Annotated[
        int,
        typer.Option(
            envvar="TUNELOG_WORKERS", min=1, help="How many processes serve the store together."
        ),
    ] = 1,
    max_body_bytes: Annotated[int, _setting("max_body_bytes")] = int(
        config.default("max_body_bytes")
    ),
    max_batch_rows: Annotated[int, _setting("max_batch_rows")] = int(
        config.default("max_batch_rows")
    ),
    max_row_keys: Annotated[int, _setting("max_row_keys")] = int(config.default("max_row_keys")),
    max_key_length: Annotated[int, _setting("max_key_length")] = int(
        config.default("max_key_length")
    ),
    max_query_jobs: Annotated[int, _setting("max_query_jobs")] = int(
        config.default("max_query_jobs")
    ),
    body_seconds: Annotated[float, _setting("body_seconds")] = config.default("body_seconds"),
    silence_seconds: Annotated[float, _setting("silence_seconds")] = config.default(
        "silence_seconds"
    ),
    tail_comment_seconds: Annotated[float, _setting("tail_comment_seconds")] = config.default(
        "tail_comment_seconds"
    ),
    stop_seconds: Annotated[float, _setting("stop_seconds")] = config.default("stop_seconds"),
) -> None:
    """Serve a store until Ctrl-C or SIGTERM.

    The first start on an empty store makes a project and a key, keeps the key in a file that only
    you can read, and prints the lines to paste. Exit code 0 after a stop, 1 when it cannot start.
    """
    settings = config.Settings(
        max_body_bytes=max_body_bytes,
        max_batch_rows=max_batch_rows,
        max_row_keys=max_row_keys,
        max_key_length=max_key_length,
        max_query_jobs=max_query_jobs,
        body_seconds=body_seconds,
        silence_seconds=silence_seconds,
        tail_comment_seconds=tail_comment_seconds,
        stop_seconds=stop_seconds,
    )
    url = store_url(store)
    if url == "memory:" and workers > 1:
        fail("memory: is the memory of one process; --workers needs a store that all can open")
    with one_line_errors(), sole_user(url), _listening(host, port) as listener:
        address = _address(listener, host)
        if workers == 1:
            _serve_alone(url, settings, listener, address)
        elif code := _serve_together(workers, url, settings, listener, address):
            raise typer.Exit(code)


@keys.command("create")
def create_key(
    project: Annotated[
        str, typer.Option(envvar="TUNELOG_PROJECT", help="The project; made if there is none.")
    ] = DEFAULT_PROJECT,
    scope: Annotated[
        list[str] | None,
        typer.Option(envvar="TUNELOG_SCOPE", help="read, write or admin; may be repeated."),
    ] = None,
    store: StoreUrl = "",
) -> None:
    """Create a key and print it, alone, on standard output; it is shown this once."""
    scopes = scope or ["read", "write"]
    wrong = [word for word in scopes if word not in _SCOPES]
    if wrong:
        raise typer.BadParameter(
            f"{wrong[0]!r} is none of read, write, admin", param_hint="--scope"
        )
    if not project.strip() or not project.isprintable():
        raise typer.BadParameter("a name is wanted", param_hint="--project")
    with one_line_errors(), opened(store) as backend:
        key, secret = backend.create_key(
            backend.create_project(project.strip()), cast(list[Scope], list(dict.fromkeys(scopes)))
        )
        typer.echo(secret)
        typer.echo(f"key {key.id} of project {project.strip()}: {' '.join(key.scopes)}", err=True)


@keys.command("list")
def list_keys(
    project: Annotated[
        str | None, typer.Option(envvar="TUNELOG_PROJECT", help="Only this project's keys.")
    ] = None,
    store: StoreUrl = "",
    json: Json = False,
) -> None:
    """List keys, revoked ones too; never their secrets."""
    with one_line_errors(), opened(store, must_exist=True) as backend:
        names = {p.id: p.name for p in backend.projects()}
        found = [k for k in backend.keys() if project in (None, names[k.project])]  # noqa: SIM118
    rows = [_key_fields(key, names[key.project]) for key in found]
    if json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    _print_keys(rows)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, key-…")], store: StoreUrl = ""
) -> None:
    """Make a key useless at once, also for a server that runs."""
    with one_line_errors(), opened(store, must_exist=True) as backend:
        revoked = backend.revoke_key(key)
    typer.echo(f"{revoked.id} is revoked", err=True)


# ---------------------------------------------------------------- the first start


def _greet(backend: Backend, url: str, address: str) -> None:
    """Say where the service is, and how to reach it."""
    typer.echo(f"tunelog {__version__} serves {shown(url)} at {address}")
    if backend.remote:
        typer.echo(_promise(backend.copies))
    key_file = _key_file(url)
    if backend.keys():
        if key_file is not None and key_file.exists():
            typer.echo(f"The key of project {DEFAULT_PROJECT} is in {key_file}")
        else:
            typer.echo("`tunelog keys create` makes a key for those who have none.")
        return
    key, secret = backend.create_key(backend.create_project(DEFAULT_PROJECT), ["admin"])
    if key_file is not None:
        try:
            _write_secret(key_file, secret)
        except OSError:
            backend.revoke_key(key.id)
            raise
        typer.echo(f"A first key was made and kept in {key_file}. Paste these lines:")
    typer.echo("")
    for name, value in (
        ("TOGETHER_BASE_URL", address),
        ("TOGETHER_API_KEY", secret),
        ("TUNELOG_URL", address),
        ("TUNELOG_API_KEY", secret),
    ):
        typer.echo(f"export {name}={value}")


def _promise(copies: int) -> str:
    """What an answer of 200 means in a cluster."""
    if copies == 1:
        return (
            "Each shard has one replica: what is acknowledged is on one machine, and dies with it."
        )
    return f"What is acknowledged is on {copies} replicas."


def _invite(backend: Backend, address: str, new_code: Callable[[str], str]) -> None:
    """Print the link that signs the operator in: as the oldest good admin key of the first project.

    That is the key of the first start, until it is revoked. Without such a key there is no link.
    """
    named = {project.name: project for project in backend.projects()}
    keys = backend.keys(named[DEFAULT_PROJECT]) if DEFAULT_PROJECT in named else ()
    key = next((k for k in keys if k.revoked_at is None and "admin" in k.scopes), None)
    if key is not None:
        typer.echo("")
        typer.echo("The page, signed in (this link works once, for 10 minutes):")
        typer.echo(f"{address}/sign-in?code={new_code(key.id)}")
    sys.stdout.flush()


def _key_file(url: str) -> Path | None:
    path = store_path(url)
    return None if path is None else path.with_name(path.name + ".key").absolute()


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


# ---------------------------------------------------------------- running


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens already, so that the address is known before the first line is said."""
    if not 0 <= port <= 65535:
        raise StoreUnusable(f"port {port}: 0 to 65535 is wanted")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreUnusable(f"cannot listen on {host}:{port}: {reason}") from None
    with listener:
        yield listener


def _address(listener: socket.socket, host: str) -> str:
    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _serve_alone(
    url: str, settings: config.Settings, listener: socket.socket, address: str
) -> None:
    from tunelog.server.siblings import alone

    backend = open_backend(url)
    try:
        backend.settle()
        sibling = alone()
        worker = Worker(backend, settings, sibling)
        with worker.heard():
            _greet(backend, url, address)
            _invite(backend, address, sibling.codes.new)
            worker.run(listener)
    finally:
        backend.close()


def _serve_together(
    count: int, url: str, settings: config.Settings, listener: socket.socket, address: str
) -> int:
    """Have several processes serve, of which each opens the store for itself; the exit code."""
    from tunelog.server.observe import log_to_stderr
    from tunelog.server.siblings import siblings

    with siblings(count) as family:

        def work(number: int, lifeline: int) -> int:
            try:
                backend = open_backend(url)
            except TunelogError as error:
                typer.echo(f"tunelog: {error.message}", err=True)
                return CANNOT_START
            with closing(backend):
                worker = Worker(backend, settings, family[number], lifeline)
                with worker.heard():
                    worker.run(listener)
            return 0

        workers = Workers(count, work, listener.close, log_to_stderr)
        with closing(open_backend(url)) as backend:
            backend.settle()
            _greet(backend, url, address)
            _invite(backend, address, family[0].codes.new)
        return workers.run()


# ---------------------------------------------------------------- showing keys


def _key_fields(key: ApiKey, project: str) -> dict[str, Any]:
    revoked = None if key.revoked_at is None else format_time(key.revoked_at)
    return {
        "id": key.id,
        "project": project,
        "scopes": list(key.scopes),
        "hint": key.hint,
        "created_at": format_time(key.created_at),
        "revoked_at": revoked,
    }


def _print_keys(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from tunelog.cli import screen

    table = Table(box=None, pad_edge=False)
    for title in ("ID", "PROJECT", "SCOPES", "ENDS IN", "CREATED", "REVOKED"):
        table.add_column(title, overflow="fold")
    for row in rows:
        revoked = (row["revoked_at"] or "")[:19]
        table.add_row(
            row["id"],
            row["project"],
            " ".join(row["scopes"]),
            row["hint"],
            row["created_at"][:19],
            revoked,
        )
    screen.console().print(table)
