"""`tunelog run`: a job around any command."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Annotated

import typer

import tunelog
from tunelog.cli import options
from tunelog.config import DEFAULT_URL
from tunelog.ids import new_id
from tunelog.recorder.losses import say
from tunelog.recorder.start import spool_folder

if TYPE_CHECKING:
    from tunelog import supervise
    from tunelog.store import Store

_ASK_SECONDS = 3.0

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="-- COMMAND…", help="The command and its arguments.", show_default=False
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="TUNELOG_MODEL",
        help="The base model's name; the command's if not given.",
        show_default=False,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        envvar="TUNELOG_NAME",
        help="A name: a restart under the same one is the next attempt of the same job.",
        show_default=False,
    ),
]
Tags = Annotated[
    str,
    typer.Option(
        "--tags",
        metavar="TAG,…",
        envvar="TUNELOG_TAGS",
        help="Words to find the job by.",
        show_default=False,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        min=0,
        metavar="SECONDS",
        envvar="TUNELOG_GRACE",
        help="When the job is cancelled, the time from SIGTERM to SIGKILL.",
    ),
]
Lines = Annotated[
    int,
    typer.Option(
        "--lines",
        min=0,
        max=200,
        envvar="TUNELOG_LINES",
        help="How many of the last lines that the command printed an event holds.",
    ),
]


def run(
    words: Words = None,
    model: Model = "",
    name: Name = "",
    tags: Tags = "",
    grace: Grace = 30.0,
    lines: Lines = 20,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = "",
) -> None:
    """Run a command as a job: its output as events, its exit code as the job's end.

    The command finds TUNELOG_URL, TUNELOG_API_KEY and TUNELOG_JOB_ID set; if it records itself, it
    is the same job. The exit code is the command's; 126 or 127 if it cannot be started.
    """
    from tunelog import supervise

    if not words:
        raise typer.BadParameter("a command is wanted: tunelog run -- COMMAND", param_hint="--")
    api_key = api_key.strip()
    names = supervise.Names(spool_folder(None), url)
    job_id = _job_id(names, name, url, api_key)
    given = {"name": name or None, "tags": [tag for tag in tags.split(",") if tag] or None}
    recorder = tunelog.init(
        model or _name_of(words),
        job_id=job_id,
        resume="must",
        url=url,
        api_key=api_key or None,
        **given,  # type: ignore[arg-type]
    )
    if name:
        _remember(names, name, job_id)
    say(f"job {job_id}: {recorder.url}")
    variables = {"TUNELOG_URL": url, **({"TUNELOG_API_KEY": api_key} if api_key else {})}
    stated = [field for field, value in {**given, "model": model}.items() if value]
    code, status = supervise.record(
        recorder, words, variables, stated=stated, grace=grace, lines=lines
    )
    if name and status == "completed":
        _remember(names, name, job_id, completed=True)
    raise typer.Exit(code)


def _job_id(names: supervise.Names, name: str, url: str, api_key: str) -> str:
    """The job to go on with, or a new one's id."""
    from tunelog import supervise
    from tunelog.recorder.details import is_job_id

    known = os.environ.get("TUNELOG_JOB_ID", "")

    def connect() -> AbstractContextManager[Store]:
        from tunelog.backends.remote import RemoteStore

        return closing(RemoteStore(url, api_key, timeout=_ASK_SECONDS))

    if name:
        return supervise.find_job(connect, name, names.of(name)) or new_id("ft-")
    if not known:
        return new_id("ft-")
    if not is_job_id(known):
        raise typer.BadParameter(f"{known!r} is no job id (ft-…)", param_hint="TUNELOG_JOB_ID")
    if supervise.is_completed(connect, known):
        say(f"job {known} has completed; this is a new one")
        return new_id("ft-")
    return known


def _remember(names: supervise.Names, name: str, job_id: str, *, completed: bool = False) -> None:
    try:
        names.keep(name, job_id, completed=completed)
    except OSError as error:
        say(f"the job of {name!r} could not be noted here: {error}")


def _name_of(words: list[str]) -> str:
    """What a command is called: by its script, if an interpreter runs one."""
    scripts = [word for word in words[1:] if word.endswith((".py", ".sh"))]
    return os.path.basename(scripts[0] if scripts else words[0]) or "command"
