"""What is moved into a cluster, and out of it, answers as it did; the rules are tests/store's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clickhouse.cluster import Cluster
from tests.clickhouse.stores import new_store
from tests.store import test_moving as rules
from tests.store.alike import answers, every_answer
from tests.store.conftest import Clock, opened
from tests.store.moves import go_on, moved, project_of, recorded
from tunelog.backends.clickhouse import ClickHouseBackend
from tunelog.backends.memory import MemoryBackend
from tunelog.store import Backend


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(cluster_2x2: Cluster, clock: Clock) -> Iterator[ClickHouseBackend]:
    """An empty cluster."""
    made = ClickHouseBackend(new_store(cluster_2x2), clock)
    yield made
    made.close()


@pytest.fixture
def memory(clock: Clock) -> Backend:
    return MemoryBackend(clock)


def test_into_a_cluster_and_out_again_everything_answers_as_it_did(
    memory: Backend, cluster: ClickHouseBackend, tmp_path: Path, clock: Clock
) -> None:
    recorded(memory)
    recorded(memory, "ft-b")
    moved(memory, cluster)
    assert every_answer(cluster) == every_answer(memory)
    file = opened("sqlite", tmp_path, clock)
    moved(cluster, file)
    assert every_answer(file) == every_answer(memory)
    file.close()


def test_what_was_recorded_in_a_cluster_answers_alike_in_a_file(
    cluster: ClickHouseBackend, tmp_path: Path, clock: Clock
) -> None:
    recorded(cluster)
    file = opened("sqlite", tmp_path, clock)
    moved(cluster, file)
    assert every_answer(file) == every_answer(cluster)
    file.close()


def test_a_job_goes_on_as_it_would_have(
    memory: Backend, cluster: ClickHouseBackend, clock: Clock
) -> None:
    store = recorded(memory)
    moved(memory, cluster)
    other = cluster.store(project_of(cluster))
    go_on(clock, store, other)
    mine, theirs = answers(store, "ft-a"), answers(other, "ft-a")
    for name in ("job", "attempts", "events", "checkpoints", "columns", "summaries"):
        assert theirs[name] == mine[name]
    assert [r[:2] + r[3:] for r in theirs["readings"]] == [r[:2] + r[3:] for r in mine["readings"]]


@pytest.mark.parametrize(
    "rule",
    [
        rules.test_a_cursor_goes_on_after_a_move,
        rules.test_snapshots_that_are_there_already_are_left_out,
        rules.test_a_job_that_has_begun_to_come_has_come_as_far_as_its_last_snapshot,
        rules.test_secrets_links_and_sessions_go_on_working,
        rules.test_a_key_that_is_revoked_between_two_passes_is_revoked_there,
        rules.test_what_was_deleted_is_deleted_there,
        rules.test_what_was_deleted_and_made_again_is_taken_anew,
        rules.test_writers_go_on_while_it_moves,
    ],
    ids=lambda rule: rule.__name__.removeprefix("test_"),
)
def test_a_cluster_keeps_the_rules_of_moving(
    rule: object, memory: Backend, cluster: ClickHouseBackend
) -> None:
    assert callable(rule)
    rule(memory, cluster)
