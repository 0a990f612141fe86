"""`tunelog jobs`, `tunelog metrics` and `tunelog tail`: what is recorded at a service.

What draws and what speaks to a service is imported when it is used: `tunelog serve` starts faster.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
import typer

from tunelog.cli import options
from tunelog.config import DEFAULT_URL
from tunelog.errors import NotFound
from tunelog.model import Change, Cursor, SnapshotArrived, SnapshotQuery, StatusChanged
from tunelog.wire.listing import job_query_parameters
from tunelog.wire.queries import query_parameters

if TYPE_CHECKING:
    from tunelog.backends.remote import RemoteStore

jobs = typer.Typer(help="List, show and delete jobs.")

_DRAWN_ROWS = 2_000
"""Train snapshots to draw a chart from; a terminal has room for fewer."""


@jobs.command("list")
def list_jobs(
    name: Annotated[
        str, typer.Option("--name", envvar="TUNELOG_NAME", help="Only jobs of this name.")
    ] = "",
    search: Annotated[
        str,
        typer.Option(
            "--search",
            envvar="TUNELOG_SEARCH",
            help="Only jobs with this in their id, name, model, suffix or tags.",
        ),
    ] = "",
    status: Annotated[
        str,
        typer.Option(
            "--status", envvar="TUNELOG_STATUS", help="Only of these, separated by commas."
        ),
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, envvar="TUNELOG_LIMIT", help="At most so many."),
    ] = None,
    offset: Annotated[
        int,
        typer.Option("--offset", min=0, envvar="TUNELOG_OFFSET", help="Leave out so many first."),
    ] = 0,
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """List the jobs of the key's project, newest first."""
    from tunelog.cli import screen, show

    query = options.job_query(
        name=name,
        search=search,
        status=status,
        limit="" if limit is None else str(limit),
        offset=str(offset),
    )
    with options.connect(url, api_key) as store:
        if json:
            screen.pass_through(store, "/fine-tunes", job_query_parameters(query))
            return
        with screen.waiting("listing jobs"):
            found = store.find_jobs(query)
    show.print_jobs(found.jobs)


@jobs.command("show")
def show_job(
    job: options.Job,
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Show one job: what is said of it, its metrics, checkpoints and latest events."""
    from tunelog.cli import screen, show

    with options.connect(url, api_key) as store:
        if json:
            screen.pass_through(store, _path(job), {})
            return
        with screen.waiting("reading the job"):
            details, summary, attempts = store.job(job), store.summarize(job), store.attempts(job)
            checkpoints, events = store.checkpoints(job), store.events(job)
    show.print_job(details, attempts)
    show.print_summary(summary)
    show.print_checkpoints(checkpoints)
    show.print_events(events)


@jobs.command("delete")
def delete_job(
    job: options.Job,
    force: Annotated[
        bool,
        typer.Option("--force", "--yes", "-y", envvar="TUNELOG_FORCE", help="Do not ask."),
    ] = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Delete a job and everything of it, for good."""
    if not force and not sys.stdin.isatty():
        raise typer.BadParameter("nobody is here to be asked: --force is needed")
    with options.connect(url, api_key) as store:
        if not force:
            count = sum(store.summarize(job).snapshots.values())
            question = f"Delete {job} and its {count:,} snapshots?"
            if not typer.confirm(question, err=True):
                typer.echo("tunelog: nothing was deleted", err=True)
                raise typer.Exit(1)
        store.delete_job(job)
    typer.echo(f"{job} is deleted", err=True)


def metrics(
    job: options.Job,
    global_step_from: options.GlobalStepFrom = "",
    global_step_to: options.GlobalStepTo = "",
    logged_at_from: options.LoggedAtFrom = "",
    logged_at_to: options.LoggedAtTo = "",
    resolution: options.Resolution = "",
    sampling: options.Sampling = "",
    attempt: options.Attempt = "",
    keys: options.Keys = "",
    nonfinite: options.Nonfinite = "",
    json: options.AsJson = False,
    csv: Annotated[
        bool, typer.Option("--csv", envvar="TUNELOG_CSV", help="Print CSV, values exact.")
    ] = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Draw a job's metrics, one chart each, train and eval together."""
    from tunelog.cli import screen

    query = options.query(
        global_step_from=global_step_from,
        global_step_to=global_step_to,
        logged_at_from=logged_at_from,
        logged_at_to=logged_at_to,
        resolution=resolution,
        sampling=sampling,
        attempt=attempt,
        keys=keys,
        nonfinite=nonfinite,
    )
    if json and csv:
        raise typer.BadParameter("one of --json and --csv is wanted")
    with options.connect(url, api_key) as store:
        if json or csv:
            accept = "text/csv" if csv else "application/json"
            parameters = query_parameters(query)
            screen.pass_through(store, _path(job, "/metrics"), parameters, accept)
        else:
            draw(store, job, query)


def draw(store: RemoteStore, job: str, query: SnapshotQuery) -> None:
    """Print a job's charts; without a resolution, from as many snapshots as can be told apart."""
    from tunelog.cli import screen, show

    drawn = msgspec.structs.replace(query, nonfinite="omit")
    if query.resolution is None:
        drawn = msgspec.structs.replace(drawn, resolution=_DRAWN_ROWS, sampling="minmax")
    with screen.waiting("reading metrics"):
        details, summary = store.job(job), store.summarize(job, query)
        rows = show.read_points(store.read(job, drawn))
    show.print_heading(details)
    show.print_charts(summary, rows, named=bool(query.keys))


def tail(
    job: options.Job,
    new: Annotated[
        bool,
        typer.Option("--new", envvar="TUNELOG_NEW", help="Only what arrives from now on."),
    ] = False,
    global_step_from: options.GlobalStepFrom = "",
    global_step_to: options.GlobalStepTo = "",
    logged_at_from: options.LoggedAtFrom = "",
    logged_at_to: options.LoggedAtTo = "",
    attempt: options.Attempt = "",
    keys: options.Keys = "",
    nonfinite: options.Nonfinite = "",
    json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Follow a job: a line for each snapshot, until Ctrl-C.

    A lost connection is taken up again where it was. With --json each line is a snapshot as the
    API has it, or {"status": …}, or {"superseded": {"attempt": 2, "from_step": 501}}: from that
    step on, what earlier attempts logged no longer counts.
    """
    from tunelog.cli import show

    query = options.query(
        global_step_from=global_step_from,
        global_step_to=global_step_to,
        logged_at_from=logged_at_from,
        logged_at_to=logged_at_to,
        attempt=attempt,
        keys=keys,
        nonfinite=nonfinite or ("" if json else "string"),
    )
    with options.connect(url, api_key) as store:
        store.job(job)  # what is not there, or away, is said now; later it may come back
        after = _now(store, job) if new else None
        try:
            for change in store.follow(job, query, after):
                typer.echo(_json_line(change) if json else show.change_line(change))
        except NotFound as error:
            raise NotFound(f"{error.message} (it was deleted)") from error


def _now(store: RemoteStore, job: str) -> Cursor:
    """Where a job's arrivals have come to."""
    with store.stream(_path(job, "/metrics"), {"resolution": "0"}) as response:
        cursor: Cursor = response.headers["tunelog-cursor"]
        return cursor


def _json_line(change: Change) -> str:
    if isinstance(change, SnapshotArrived):
        return change.line.decode()
    if isinstance(change, StatusChanged):
        return msgspec.json.encode({"status": change.status}).decode()
    superseded = {"attempt": change.attempt, "from_step": change.from_step}
    return msgspec.json.encode({"superseded": superseded}).decode()


def _path(job: str, rest: str = "") -> str:
    return f"/fine-tunes/{quote(job, safe='')}{rest}"
