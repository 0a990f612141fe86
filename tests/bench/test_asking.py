"""What the benchmark asks is what it says: of a small data set, by a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench import questions
from bench.clients import Answer, Connection, get
from bench.data import EVALS, FEW, LARGE, DataSet
from bench.peers import METRICS
from bench.processes import ServerProcess, tunelog_server

STEPS = 2_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return DataSet(tmp_path_factory.mktemp("bench"), [1_000, STEPS], many=3)


@pytest.fixture(scope="module")
def service(data: DataSet) -> Iterator[ServerProcess]:
    with tunelog_server(data.path) as server:
        yield server


def asked(service: ServerProcess, data: DataSet, path: str) -> Answer:
    with Connection(service.port, keep=True) as connection:
        return connection.ask(get(path, data.secret))


def steps(answer: Answer) -> list[int]:
    """Of the train snapshots that were returned."""
    rows = json.loads(answer.body)["metrics"]
    return [row["train/global_step"] for row in rows if "eval/loss" not in row]


def test_every_question_is_answered_with_what_it_asks_for(
    service: ServerProcess, data: DataSet
) -> None:
    path = questions.comparable(LARGE, STEPS) | questions.others(LARGE, STEPS)
    answers = {question: asked(service, data, path) for question, path in path.items()}

    assert {answer.status for answer in answers.values()} == {200}
    assert answers[questions.FULL].headers["tunelog-returned"] == str(STEPS + EVALS)
    assert steps(answers[questions.FULL]) == list(range(STEPS))
    assert len(steps(answers[questions.SAMPLED])) == 100
    assert steps(answers[questions.TAIL]) == list(range(STEPS - 10, STEPS))
    assert len(steps(answers["resolution=1000"])) == 1000
    middle = list(range(STEPS // 2, STEPS // 2 + STEPS // 10))
    assert steps(answers["step window in the middle"]) == middle
    assert steps(answers["time window in the middle"]) == middle
    assert set(METRICS) < set(json.loads(answers["summary"].body)["metrics"])


def test_an_address_that_is_asked_once_is_another_address_of_the_same_question(
    service: ServerProcess, data: DataSet
) -> None:
    for path in questions.comparable(LARGE, STEPS).values():
        first, second = questions.unasked(path), questions.unasked(path)

        assert len({path, first, second}) == 3
        bodies = {asked(service, data, one).body for one in (path, first, second)}
        assert len(bodies) == 1


def test_the_data_set_has_values_of_six_digits_and_scattered_times(
    service: ServerProcess, data: DataSet
) -> None:
    rows = json.loads(asked(service, data, questions.metrics(LARGE)).body)["metrics"]
    digits = [f"{row[name]:.5e}" for row in rows for name in METRICS if name in row]

    assert [float(text) for text in digits] == [
        row[name] for row in rows for name in METRICS if name in row
    ]
    assert len({row["timestamp"] % 1_000_000_000 for row in rows}) > 0.99 * STEPS


def test_small_jobs_are_in_the_same_store(service: ServerProcess, data: DataSet) -> None:
    answers = [asked(service, data, questions.metrics(job)) for job in data.many]

    assert [len(steps(answer)) for answer in answers] == [FEW] * 3


def test_bytes_on_disk_are_told_for_one_snapshot(data: DataSet) -> None:
    """Of both kinds of job, and the plain table beside them is as large as it must be."""
    assert 10 < data.disk < 500
    assert 10 < data.many_disk * FEW * 3 < data.path.stat().st_size
    assert data.plain_path.stat().st_size > 100 * STEPS
