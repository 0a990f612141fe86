"""The command `tunelog`, also `python -m tunelog`."""

from __future__ import annotations

import sys

_EXTRAS = {
    "typer": "cli",
    "rich": "cli",
    "plotext": "cli",
    "starlette": "server",
    "uvicorn": "server",
    "numpy": "demo",
    "pyarrow": "parquet",
}


def main() -> None:
    """Run the command line; exit code 2, and the line that helps, where a package is missing."""
    try:
        from tunelog.cli import run

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        print(  # noqa: T201 - there may be no Typer to print with
            f'tunelog: {missing} is missing: pip install "tunelog[{_EXTRAS[missing]}]"',
            file=sys.stderr,
        )
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
