"""Flags that several commands share; each is a TUNELOG_… variable, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tunelog.errors import InvalidRequest
from tunelog.model import JobQuery, SnapshotQuery
from tunelog.wire.listing import parse_job_query
from tunelog.wire.queries import parse_query

if TYPE_CHECKING:
    from tunelog.backends.remote import RemoteStore

Url = Annotated[str, typer.Option("--url", envvar="TUNELOG_URL", help="The service's address.")]
ApiKey = Annotated[
    str, typer.Option("--api-key", envvar="TUNELOG_API_KEY", help="A key of the service.")
]
AsJson = Annotated[
    bool, typer.Option("--json", envvar="TUNELOG_JSON", help="Print what the service answers.")
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, ft-….")]

GlobalStepFrom = Annotated[
    str,
    typer.Option(
        "--global-step-from", metavar="N", envvar="TUNELOG_GLOBAL_STEP_FROM", help="First step."
    ),
]
GlobalStepTo = Annotated[
    str,
    typer.Option(
        "--global-step-to", metavar="N", envvar="TUNELOG_GLOBAL_STEP_TO", help="Last step."
    ),
]
LoggedAtFrom = Annotated[
    str,
    typer.Option(
        "--logged-at-from",
        metavar="TIME",
        envvar="TUNELOG_LOGGED_AT_FROM",
        help="Logged at this time or later; ISO 8601, UTC without a zone.",
    ),
]
LoggedAtTo = Annotated[
    str,
    typer.Option(
        "--logged-at-to",
        metavar="TIME",
        envvar="TUNELOG_LOGGED_AT_TO",
        help="Logged at this time or earlier.",
    ),
]
Resolution = Annotated[
    str,
    typer.Option(
        "--resolution",
        metavar="N",
        envvar="TUNELOG_RESOLUTION",
        help="The most train snapshots to return; eval snapshots come in full.",
    ),
]
Sampling = Annotated[
    str,
    typer.Option(
        "--sampling",
        metavar="uniform|minmax",
        envvar="TUNELOG_SAMPLING",
        help="How --resolution chooses: evenly, or so that no spike is lost.",
    ),
]
Attempt = Annotated[
    str,
    typer.Option(
        "--attempt",
        metavar="N|all",
        envvar="TUNELOG_ATTEMPT",
        help="One attempt, or all; by default what later attempts did not log again.",
    ),
]
Keys = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="NAME,…",
        envvar="TUNELOG_KEYS",
        help="Only these metrics: names and globs, such as train/loss,eval/*.",
    ),
]
Nonfinite = Annotated[
    str,
    typer.Option(
        "--nonfinite",
        metavar="omit|null|string",
        envvar="TUNELOG_NONFINITE",
        help="How NaN and infinities are shown in JSON: left out and counted, or in place.",
    ),
]


@contextmanager
def connect(url: str, api_key: str) -> Iterator[RemoteStore]:
    """The jobs of a key's project, at a service."""
    from tunelog.backends.remote import RemoteStore

    if not api_key.strip():
        raise typer.BadParameter("a key is needed, also in TUNELOG_API_KEY", param_hint="--api-key")
    try:
        store = RemoteStore(url, api_key.strip())
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from error
    with closing(store):
        yield store


def query(**given: str) -> SnapshotQuery:
    """The query that flags ask for; each is named like its parameter."""
    with _refusing_flags():
        return parse_query(given.items())


def job_query(**given: str) -> JobQuery:
    """The list of jobs that flags ask for; each is named like its parameter."""
    with _refusing_flags():
        return parse_job_query(given.items())


@contextmanager
def _refusing_flags() -> Iterator[None]:
    """What is wrong with a parameter is wrong with the flag of that name."""
    try:
        yield
    except InvalidRequest as error:
        reason = error.message.removeprefix(f"{error.param}: ")
        flag = f"--{(error.param or '').replace('_', '-')}"
        raise typer.BadParameter(reason, param_hint=flag) from error
