"""What the benchmark's trainers log arrives, each snapshot once, and what that took is told."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench import growth
from bench.data import DETAILS
from bench.growth import Growth, Step
from bench.processes import tunelog_server
from bench.writers import Logging
from tunelog.backends.sqlite import SqliteBackend

JOBS = ["ft-a", "ft-b", "ft-c"]
METRICS = 10


def test_each_writer_logs_a_snapshot_a_second_and_each_is_stored_once(tmp_path: Path) -> None:
    store = tmp_path / "tunelog.db"
    backend = SqliteBackend(store)
    project = backend.create_project("default")
    for job in JOBS:
        backend.store(project).create_job(DETAILS, job)
    _, key = backend.create_key(project, ["write"])
    with tunelog_server(store) as service:
        places = [(job, service.port) for job in JOBS]
        waited = Logging(places, key, METRICS, first=1000, warm=1.0, seconds=1.5).run()

    assert (waited.missing, waited.troubles) == (0, {})
    stored = [backend.store(project).read(job).matched for job in JOBS]
    assert sum(stored) == waited.acknowledged
    assert set(stored) <= {2, 3}
    assert 0 < len(waited.seconds) <= waited.acknowledged - len(JOBS)
    columns = backend.store(project).columns("ft-a")
    assert len(columns) == METRICS
    backend.close()


def test_a_writer_whose_service_does_not_take_a_batch_says_so(tmp_path: Path) -> None:
    store = tmp_path / "tunelog.db"
    backend = SqliteBackend(store)
    _, key = backend.create_key(backend.create_project("default"), ["write"])
    backend.close()
    with tunelog_server(store) as service:
        load = Logging([("ft-unknown", service.port)], key, METRICS, 0, 0.0, 0.5)
        waited = load.run(patience=5.0)

    assert (waited.acknowledged, waited.missing) == (0, 1)
    assert [words.partition(":")[0] for words in waited.troubles] == ["404"]


def test_growth_is_drawn_with_a_line_for_each_thing_and_tabled_with_a_row_for_each_step() -> None:
    steps = [
        Step(
            writers=writers,
            rate=writers * 0.99,
            p50=0.02,
            p99=0.2 * writers,
            most=0.3 * writers,
            troubles=0,
            missing=0,
            services=0.1,
            engine=0.2,
            keeper=0.05,
            clients=0.01,
            network=2e6,
            arriving=1e5,
            disk=88.0,
        )
        for writers in (1, 10, 1000)
    ]
    grown = Growth(
        shards=2,
        replicas=2,
        metrics=METRICS,
        seconds=30,
        machine="a machine",
        load="no load",
        steps=steps,
        merged=70.0,
    )

    drawing = ElementTree.fromstring(growth.drawing([grown]))
    lines = [each for each in drawing.iter() if each.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [3] * 5
    rows = growth.markdown([grown]).splitlines()
    assert [row.split(" | ")[0] for row in rows if row.startswith("| 1")] == [
        "| 1",
        "| 10",
        "| 1,000",
    ]
