"""`python -m bench`: measure everything that `make bench` does, print the table, keep the results.

The parts are those of PARTS; the peers are measured first, since the others stand beside them.
`python -m bench recorder` measures the recorder beside its peers, `python -m bench drills` runs the
fault drills and prints what they cost, `python -m bench cluster` makes ClickHouse clusters on this
machine and measures those: it keeps bench/growth.json and draws docs/growth.svg.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import (
    beside,
    cluster,
    cluster_reads,
    drills,
    growth,
    ingest,
    memory,
    page,
    reads,
    recorder,
    report,
    small,
    store,
    workers,
)
from bench.beside import Peers
from bench.data import DataSet
from bench.figures import Section
from bench.machine import Load, machine

PARTS = ("peers", "store", "reads", "small", "ingest", "workers", "memory", "page")
LEAST = 20_000
PEERS_MOST, SHORT = 100_000, 10_000
"""Steps of a peer's longest run, and of the job between small and large ones."""


def main() -> None:
    """Run what the arguments ask for."""
    arguments = _arguments()
    if arguments.what == "drills":
        with tempfile.TemporaryDirectory(prefix="tunelog-bench-") as name:
            print(drills.run(Path(name)))
        return
    if arguments.last:
        sections = report.last(report.CLUSTER if arguments.what == "cluster" else report.RESULTS)
    else:
        with tempfile.TemporaryDirectory(prefix="tunelog-bench-") as name:
            sections = _measured(arguments, Path(name))
    if arguments.markdown:
        print(report.markdown(sections))
    else:
        report.tables(sections)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("recorder", "drills", "cluster"), help="instead of these parts"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, not a table")
    parser.add_argument("--last", action="store_true", help="show what was kept again")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of the parts")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tenth of everything, runs of 1,000 steps for the peers, and no page: to try things",
    )
    parser.add_argument("--snapshots", type=int, help="of the large job (1000000; quick: 100000)")
    arguments = parser.parse_args()
    if arguments.snapshots is None:
        arguments.snapshots = 100_000 if arguments.quick else 1_000_000
    if arguments.snapshots < LEAST:
        parser.error(f"--snapshots: at least {LEAST:,}")
    return arguments


def _measured(arguments: argparse.Namespace, folder: Path) -> list[Section]:
    begun = time.perf_counter()
    if arguments.what == "recorder":
        return [recorder.measure(folder)]
    if arguments.what == "cluster":
        return _cluster(arguments, folder)
    sections = _parts(arguments, folder)
    if set(arguments.only) == set(PARTS):
        report.save(sections)
    print(f"measured in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return sections


def _cluster(arguments: argparse.Namespace, folder: Path) -> list[Section]:
    """What more and more writers cost, and what reading takes."""
    load = Load()
    writers, seconds = ([20, 50], 5.0) if arguments.quick else (cluster.WRITERS, cluster.SECONDS)
    grown = [
        cluster.grow(folder / f"{shards}x{replicas}", shards, replicas, writers, seconds)
        for shards, replicas in cluster.LAYOUTS
    ]
    figures = [cluster.acknowledged(growth) for growth in grown]
    written = Section("Cluster: more and more writers", figures, machine(), load.so_far())
    others = 500 if arguments.quick else 5000
    read = cluster_reads.measure(folder / "reads", arguments.snapshots, others)
    if not arguments.quick:
        report.save([written, read], report.CLUSTER)
        growth.save(grown)
        growth.DRAWN.write_text(growth.drawing(grown))
    print(growth.markdown(grown))
    return [written, read]


def _parts(arguments: argparse.Namespace, folder: Path) -> list[Section]:
    only, quick, snapshots = set(arguments.only), arguments.quick, arguments.snapshots
    sections = []
    peers = Peers([], {})
    if "peers" in only:
        peers, section = beside.measure(folder, 1000 if quick else PEERS_MOST)
        sections.append(section)
    load = Load()
    if only & {"store", "reads", "small", "memory"}:
        print(f"storing {snapshots:,} snapshots in {folder}", file=sys.stderr)
        sizes = sorted({1000, SHORT, min(PEERS_MOST, snapshots), snapshots})
        data = DataSet(folder, sizes, 1000 if quick else 10_000)
    measures: dict[str, Callable[[], Section]] = {
        "store": lambda: store.measure(data, load),
        "reads": lambda: reads.measure(data, folder, peers),
        "small": lambda: small.measure(data, folder),
        "ingest": lambda: ingest.measure(folder, peers),
        "workers": lambda: workers.measure(folder),
        "memory": lambda: memory.measure(data),
        "page": lambda: page.measure(folder, snapshots),
    }
    wanted = only - {"page"} if quick else only
    return sections + [measure() for part, measure in measures.items() if part in wanted]


if __name__ == "__main__":
    main()
