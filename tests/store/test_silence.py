"""Writers that fall silent, over every backend."""

from __future__ import annotations

from tests.store.conftest import Clock
from tests.store.samples import SECOND, batch, train
from tunelog.model import JobChanges, JobDetails
from tunelog.store import Backend


def test_silence_ends_a_job_and_any_word_of_its_writers_wakes_it(
    backend: Backend, clock: Clock
) -> None:
    store = backend.store(backend.create_project("default"))
    for job in ("ft-asleep", "ft-ended"):
        store.create_job(JobDetails(model="m"), job)
        store.append(job, batch(train(1)))
    clock.now += 60 * SECOND
    assert sorted(backend.end_silent_jobs(clock.now)) == ["ft-asleep", "ft-ended"]
    assert "No word from the job's writers" in store.events("ft-asleep")[-1].message
    assert store.append("ft-asleep", batch(train(2))).status == "running"
    store.update_job("ft-ended", JobChanges(status="error"))  # its owner says so, too
    assert store.append("ft-ended", batch(train(2))).status == "error"
    clock.now += 60 * SECOND
    assert backend.end_silent_jobs(clock.now) == ["ft-asleep"]
    woken = store.update_job("ft-asleep", JobChanges(details={"epochs_completed": 1}))
    assert woken.status == "running"


def test_a_cancel_that_nobody_hears_is_carried_out_after_the_silence(
    backend: Backend, clock: Clock
) -> None:
    store = backend.store(backend.create_project("default"))
    store.create_job(JobDetails(model="m"), "ft-9")
    store.append("ft-9", batch(train(1)))
    store.cancel_job("ft-9")
    clock.now += 60 * SECOND
    backend.end_silent_jobs(clock.now)
    assert store.append("ft-9", batch(train(2))).status == "cancelled"
