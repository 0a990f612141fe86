"""Stores on the command line: their URLs, and who may have one open."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tunelog import config
from tunelog.backends import open_backend
from tunelog.errors import StoreUnusable, TunelogError
from tunelog.store import Backend

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="TUNELOG_STORE",
        help="Where everything is kept: sqlite:///relative.db, sqlite:////absolute.db, memory: or"
        " clickhouse://user:password@host:8123,…/database?replicas=2",
        show_default="the user's data directory",
    ),
]


def store_url(store: str) -> str:
    """The URL that was given, or that of the default store, whose folder is then made."""
    if store:
        return store
    config.data_folder().mkdir(parents=True, exist_ok=True)
    return config.default_store()


def store_path(url: str) -> Path | None:
    """The file of a store; None if it is not a file."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


@contextmanager
def opened(store: str, *, must_exist: bool = False) -> Iterator[Backend]:
    """A store, until the end of the `with` statement."""
    url = store_url(store)
    path = store_path(url)
    if must_exist and path is not None and not path.exists():
        raise StoreUnusable(f"{path}: there is no store")
    backend = open_backend(url)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What goes wrong is one line on standard error, and exit code 1."""
    try:
        yield
    except TunelogError as error:
        fail(error.message)
    except OSError as error:
        fail(str(error))


def fail(message: str) -> None:
    """End with one line on standard error, and exit code 1."""
    typer.echo(f"tunelog: {message}", err=True)
    raise typer.Exit(1)


@contextmanager
def sole_user(url: str) -> Iterator[None]:
    """Hold the store's lock: one `serve`, or `move` into it, at a time on one file."""
    path = store_path(url)
    if path is None or not path.parent.is_dir():  # opening the store will say what is wrong
        yield
        return
    real = path.resolve()  # one lock, whatever links lead to the store
    try:
        lock = open(real.with_name(real.name + ".lock"), "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreUnusable(f"{path}: its folder cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreUnusable(
                f"{path}: another `tunelog serve` or `tunelog move` has this store open"
            ) from None
        yield
