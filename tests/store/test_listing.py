"""Lists of jobs, from every backend: what matches, in which order, on which page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.conftest import Clock
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import FoundJobs, JobChanges, JobDetails, JobQuery
from tunelog.store import Store


@pytest.fixture(autouse=True)
def some_jobs(store: Store) -> None:
    """Seven jobs, ft-0 the oldest."""
    for number, details in enumerate(
        (
            JobDetails(model="Qwen/Qwen3-0.6B", name="baseline"),
            JobDetails(model="Qwen/Qwen3-4B", name="baseline", tags=("Sweep-7", "lora")),
            JobDetails(model="m", suffix="Straße"),
            JobDetails(model="m", hyperparameters={"qwen": "qwen"}, wandb_name="qwen"),
            JobDetails(model='quo"ted\\', name="100%_x"),
            JobDetails(model="m", name="ÅNGSTRÖM"),
            JobDetails(model="m", name="last", tags=()),
        )
    ):
        store.create_job(details, f"ft-{number}")
    store.update_job("ft-1", JobChanges(status="running"))
    store.update_job("ft-3", JobChanges(status="completed"))
    store.cancel_job("ft-6")


def ids(found: FoundJobs) -> str:
    return "".join(job.id.removeprefix("ft-") for job in found.jobs)


def test_without_conditions_all_jobs_are_listed_newest_first(store: Store) -> None:
    found = store.find_jobs(JobQuery())
    assert (found.matched, ids(found)) == (7, "6543210")
    assert list(found.jobs) == list(store.jobs())


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("qwen", "10"),
        ("QWEN3-4", "1"),
        ("sweep", "1"),
        ("baseLINE", "10"),
        ("STRASSE", "2"),  # as Unicode folds it
        ("ß", "2"),
        ("ångström", "5"),
        ("Ft-4", "4"),
        ('o"t', "4"),
        ("\\", "4"),
        ("%", "4"),
        ("_", "4"),
        ("*", ""),
        ("7lora", ""),  # no field ends where another begins
        ("baseline\n", ""),
        (" ", ""),
        ("lora", "1"),
        ("0", "40"),
        ("nothing of this", ""),
        ("null", ""),
    ],
)
def test_a_search_looks_into_id_name_model_suffix_and_tags(
    store: Store, search: str, expected: str
) -> None:
    found = store.find_jobs(JobQuery(search=search))
    assert (found.matched, ids(found)) == (len(expected), expected)


def test_statuses_are_alternatives(store: Store) -> None:
    assert ids(store.find_jobs(JobQuery(statuses=frozenset({"running"})))) == "1"
    several = frozenset({"running", "completed", "cancelled", "error"})
    assert ids(store.find_jobs(JobQuery(statuses=several))) == "631"  # type: ignore[arg-type]


def test_conditions_are_combined_with_and(store: Store) -> None:
    running = JobQuery(name="baseline", search="qwen", statuses=frozenset({"running"}))
    assert ids(store.find_jobs(running)) == "1"
    assert ids(store.find_jobs(JobQuery(name="baseline", search="m"))) == ""
    assert ids(store.find_jobs(JobQuery(search="qwen", statuses=frozenset({"error"})))) == ""


@pytest.mark.parametrize("search", [None, "ft-"])
def test_pages_follow_one_another_and_each_says_how_many_match(
    store: Store, search: str | None
) -> None:
    def page(offset: int, limit: int | None) -> tuple[int, str]:
        found = store.find_jobs(JobQuery(search=search, offset=offset, limit=limit))
        return found.matched, ids(found)

    assert [page(offset, 3) for offset in (0, 3, 6, 9)] == [
        *((7, "654"), (7, "321"), (7, "0"), (7, "")),
    ]
    assert page(5, None) == (7, "10")
    assert page(0, 100) == (7, "6543210")


def test_another_projects_jobs_are_not_found(tmp_path: Path, clock: Clock) -> None:
    backend = SqliteBackend(tmp_path / "two.db", clock)
    for name in ("mine", "theirs"):
        backend.store(backend.create_project(name)).create_job(JobDetails(model=name), "ft-a")
    mine = backend.store(backend.create_project("mine"))
    assert mine.find_jobs(JobQuery(search="theirs")).matched == 0
    assert [job.details.model for job in mine.find_jobs(JobQuery(search="ft")).jobs] == ["mine"]
    backend.close()


def test_a_job_that_is_changed_or_deleted_is_found_as_it_is_now(store: Store) -> None:
    store.update_job("ft-6", JobChanges(details={"tags": ("New",), "suffix": None}))
    assert ids(store.find_jobs(JobQuery(search="new"))) == "6"
    store.delete_job("ft-6")
    assert store.find_jobs(JobQuery(search="new")) == FoundJobs(0, [])
    assert store.find_jobs(JobQuery()).matched == 6
