"""The command line. `reading` shows what is recorded, `serving` serves it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tunelog import __version__
from tunelog.cli import demo, moving, reading, running, serving, sharing, syncing, upkeep
from tunelog.errors import StoreUnavailable, TunelogError, Unauthenticated

OK, REFUSED, WRONG_USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_HELP = """Record the training metrics of fine-tuning jobs, and serve them.

Every flag is also a variable: --resolution is TUNELOG_RESOLUTION. Each command has --help.

\b
Exit codes:
  0    done
  1    the service refused it, or there is no such thing
  2    wrong usage
  3    the service cannot be reached
  130  stopped by Ctrl-C
"""

app = typer.Typer(
    help=_HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tunelog {__version__}")
        raise typer.Exit(OK)


@app.callback()
def tunelog(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Have the options that stand before a command; its help is the app's."""


app.command("serve")(serving.serve)
app.add_typer(serving.keys, name="keys")
app.command("migrate")(upkeep.migrate)
app.command("doctor")(upkeep.doctor)
app.command("move")(moving.move)
app.add_typer(reading.jobs, name="jobs")
app.add_typer(sharing.shares, name="shares")
app.command("metrics")(reading.metrics)
app.command("tail")(reading.tail)
app.command("run", context_settings={"allow_interspersed_args": False})(running.run)
app.command("sync")(syncing.sync)
app.command("demo")(demo.demo)


def run(arguments: Sequence[str]) -> int:
    """Run a command and answer its exit code; what goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode is no error
    try:
        code = app(list(arguments) or ["--help"], prog_name="tunelog", standalone_mode=False)
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # so Typer ends
            return _unread()
        raise
    except (typer.TyperException, TunelogError, OSError) as error:
        return _failed(error)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        if os.environ.get("TUNELOG_TRACEBACK"):
            raise
        kind = type(error).__name__
        return _fail(
            f"a fault of tunelog's: {kind}: {error}; TUNELOG_TRACEBACK=1 shows more", REFUSED
        )
    return code if isinstance(code, int) else OK


def _failed(error: typer.TyperException | TunelogError | OSError) -> int:
    """Say what went wrong, and answer the exit code for it."""
    if isinstance(error, BrokenPipeError):
        return _unread()
    if isinstance(error, typer.TyperException):
        return _fail(_usage(error), WRONG_USAGE)
    if isinstance(error, Unauthenticated):
        return _fail(f"{error.message} (--api-key, or TUNELOG_API_KEY)", REFUSED)
    if isinstance(error, StoreUnavailable):
        return _fail(f"{error.message} (--url, or TUNELOG_URL)", UNREACHABLE)
    return _fail(str(error), REFUSED)


def _unread() -> int:
    """The reader of our output has had enough, as `head` has: what is left goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return OK


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the arguments, and where help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tunelog"
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _fail(message: str, code: int) -> int:
    typer.echo(f"tunelog: {' '.join(message.split())}", err=True)
    return code
