"""`tunelog move`: everything of one store into another."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from tunelog.cli import screen
from tunelog.cli.stores import one_line_errors, opened, sole_user, store_path
from tunelog.errors import StoreUnusable
from tunelog.moving import Checked, Move, Place, Watch, same_owners, verify

_REST = 1.0
"""Seconds that --follow waits after a pass that found nothing."""

_NEXT = """\
To switch: stop the service on FROM, run this once more, and start the service on TO."""


def move(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The store to move: sqlite:////absolute.db …")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="An empty store, or one that was moved to before.")
    ],
    only_verify: Annotated[
        bool,
        typer.Option(
            "--verify", envvar="TUNELOG_VERIFY", help="Only compare all of both; change nothing."
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            envvar="TUNELOG_FOLLOW",
            help="Go on with what comes, until Ctrl-C or SIGTERM.",
        ),
    ] = False,
) -> None:
    """Take everything of one store into another, while a service may be using the first.

    Then stop the service, run it again, which takes only the rest, and start the service on TO.
    Keys, share links and sessions go on working; jobs, curves and cursors are the same. What is
    taken is read back and compared: exit code 1 if anything differs. If it is killed, run it again;
    it goes on where it was.
    """
    if only_verify and follow:
        raise typer.BadParameter("not together with --verify", param_hint="--follow")
    with one_line_errors():
        _check(source, target)
        if only_verify:
            with opened(source, must_exist=True) as one, opened(target, must_exist=True) as other:
                with _watched("comparing") as watch:
                    checked = verify(one, other, watch)
                _report(checked, same_owners(one, other))
            return
        with opened(source, must_exist=True) as one, sole_user(target), opened(target) as other:
            move = Move(one, other)
            _run(move, follow)
            _report(move.checked, True)
    typer.echo(_NEXT, err=True)


def _check(source: str, target: str) -> None:
    if "memory:" in (source, target):
        raise StoreUnusable("memory: is gone when this command ends, so nothing can be moved there")
    paths = [path and path.resolve() for path in map(store_path, (source, target))]
    if source == target or (paths[0] is not None and paths[0] == paths[1]):
        raise StoreUnusable(f"{target}: FROM and TO are the same store")


def _run(move: Move, follow: bool) -> None:
    """Pass after pass, until there is no more to be had; with `follow`, until Ctrl-C or SIGTERM."""
    if follow:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    number = 0
    try:
        while follow or not move.caught_up:
            number += 1
            with _watched(f"pass {number}") as watch:
                taken = move.run_pass(watch)
            if taken or not follow:
                typer.echo(f"pass {number}: {taken} snapshots", err=True)
            else:
                time.sleep(_REST)
    except KeyboardInterrupt:
        if not follow:
            raise


@contextmanager
def _watched(what: str) -> Iterator[Watch]:
    """A bar on standard error, if that is a terminal and it takes its time."""
    with screen.waiting(what, 0) as progress:
        yield lambda done, total: progress.update(progress.task_ids[0], completed=done, total=total)


def _report(checked: Mapping[Place, Checked], same_owners: bool) -> None:
    """Print each job with its count and checksum; end with exit code 1 if anything differs."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("PROJECT", "JOB", "SNAPSHOTS", "CHECKSUM"):
        table.add_column(title, overflow="fold")
    for (project, job), found in checked.items():
        table.add_row(project, job, str(found.target.snapshots), found.target.checksum)
    if checked:
        screen.console().print(table)
    differences = [
        f"{job} of project {project} differs: {found.difference}"
        for (project, job), found in checked.items()
        if found.difference
    ]
    if not same_owners:
        differences.insert(0, "the projects, keys or share links differ")
    for difference in differences:
        typer.echo(f"tunelog: {difference}", err=True)
    if differences:
        raise typer.Exit(1)
    compared = f"{len(checked)} jobs compared: the same on both sides"
    typer.echo(compared if checked else "there was nothing to compare", err=True)
