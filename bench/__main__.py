"""`python -m bench`: measure the store, the service and the page, print tables, keep the results.

`python -m bench recorder` measures the recorder beside its peers, `python -m bench drills` runs the
fault drills and prints what they cost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import drills, page, recorder, report, service, store
from bench.data import DataSet
from bench.figures import Load, Section

LEAST = 20_000


def main() -> None:
    """Run what the arguments ask for."""
    arguments = _arguments()
    if arguments.what == "drills":
        with tempfile.TemporaryDirectory(prefix="tunelog-bench-") as name:
            print(drills.run(Path(name)))
        return
    if arguments.what == "recorder":
        with tempfile.TemporaryDirectory(prefix="tunelog-bench-") as name:
            sections = [recorder.measure(Path(name))]
    else:
        sections = _stored_and_served(arguments)
    if arguments.markdown:
        print(report.markdown(sections))
    else:
        report.tables(sections)


def _stored_and_served(arguments: argparse.Namespace) -> list[Section]:
    if arguments.last:
        return report.last()
    return _measured(arguments.snapshots, arguments.only)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("recorder", "drills"), help="instead of these three"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, not tables")
    parser.add_argument("--last", action="store_true", help="show bench/results.json again")
    parser.add_argument(
        "--only", choices=("store", "service", "page"), help="only one of the three"
    )
    parser.add_argument(
        "--snapshots", type=int, default=1_000_000, help="of the large job (1000000)"
    )
    arguments = parser.parse_args()
    if arguments.snapshots < LEAST:
        parser.error(f"--snapshots: at least {LEAST:,}")
    return arguments


def _measured(snapshots: int, only: str | None) -> list[Section]:
    begun = time.perf_counter()
    load = Load()
    sections = []
    with tempfile.TemporaryDirectory(prefix="tunelog-bench-") as name:
        folder = Path(name)
        if only != "page":
            print(f"storing {snapshots:,} snapshots in {folder}", file=sys.stderr)
            data = DataSet(folder, snapshots)
            print(f"  took {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        if only in (None, "store"):
            sections.append(store.measure(data, load))
        if only in (None, "service"):
            sections.append(service.measure(data, folder))
        if only in (None, "page"):
            sections.append(page.measure(folder, snapshots))
    if only is None:
        report.save(sections)
    print(f"measured in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return sections


if __name__ == "__main__":
    main()
