"""What arrives is drawn as it arrives, and nothing that was chosen is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.page.visiting import Visit, drag, drawn, line, query, wait_until
from tests.serving import RecordedJob, Server, create_job, training_rows


@pytest.fixture
def alone(context: BrowserContext, fresh_server: Server) -> Iterator[Page]:
    """A tab on a server of its own, signed in."""
    context.clear_cookies()
    answer = context.request.post(
        f"{fresh_server.url}/session", data={"api_key": fresh_server.api_key}
    )
    assert answer.status == 204
    with Visit(context) as visit:
        yield visit.page


@pytest.fixture
def trainer(fresh_server: Server) -> Iterator[httpx2.Client]:
    with fresh_server.client() as api:
        yield api


def log(api: httpx2.Client, job: RecordedJob, begin: int, end: int) -> None:
    rows = [row for row in training_rows(200) if begin <= row["train/global_step"] <= end]
    answer = api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows})
    assert answer.status_code == 200


def arrived(page: Page, steps: int) -> None:
    wait_until(
        page,
        """steps => { const line = document.querySelector('.chart')?.chart.lines[0];
           return line?.length === steps && line.xs[steps - 1] === steps; }""",
        steps,
    )


def test_new_points_are_appended(alone: Page, fresh_server: Server, trainer: httpx2.Client) -> None:
    job = create_job(trainer, total_steps=200)
    log(trainer, job, 1, 50)
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    drawn(alone, "loss")
    arrived(alone, 50)
    log(trainer, job, 51, 60)
    arrived(alone, 60)
    expect(drawn(alone, "loss").locator(".note")).to_have_text("66 of 66 points")
    trainer.patch(f"/v1/fine-tunes/{job.id}", json={"status": "completed"})
    expect(alone.locator(".about .status")).to_have_text("completed")


def test_the_first_points_of_a_job_appear_by_themselves(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    expect(alone.locator(".state")).to_contain_text("Nothing has been logged yet.")
    log(trainer, job, 1, 5)
    drawn(alone, "loss")
    arrived(alone, 5)


def test_zoom_smoothing_hidden_series_and_scroll_position_stay(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    log(trainer, job, 1, 100)
    alone.goto(f"{fresh_server.url}/?job={job.id}&smooth=0.5&hidden=eval/loss")
    drag(alone, drawn(alone, "loss"), 0.2, 0.6)
    alone.wait_for_url("**from=**")
    before = query(alone)
    alone.evaluate("scrollTo(0, 120)")
    log(trainer, job, 101, 150)
    wait_until(alone, "document.querySelector('.chart').chart.lines[0].length === 150")
    low, high = alone.evaluate(
        """() => { const {min, max} = document.querySelector('.chart').chart.plot.u.scales.x;
           return [min, max]; }"""
    )
    assert (low, high) == pytest.approx(
        (float(before["from"][0]), float(before["to"][0])), rel=1e-6
    )
    assert query(alone) == before
    assert alone.evaluate("scrollY") == 120
    one = line(drawn(alone, "loss"), "train/loss")
    assert len(one["smooth"]) == 150


def test_a_restarted_server_is_noticed_and_the_page_heals_by_itself(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    log(trainer, job, 1, 20)
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    drawn(alone, "loss")
    expect(alone.locator(".board")).to_have_attribute("data-live", "live")
    fresh_server.stop()
    expect(alone.locator(".notice")).to_contain_text("The service does not answer.")
    fresh_server.start()
    log(trainer, job, 21, 30)
    arrived(alone, 30)
    expect(alone.locator(".notice")).to_be_hidden()


def test_a_restart_of_the_training_takes_back_what_it_supersedes(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    log(trainer, job, 1, 40)
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    drawn(alone, "loss")
    arrived(alone, 40)
    trainer.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 31})
    arrived(alone, 30)
    expect(alone.get_by_label("Superseded")).to_be_visible()


def test_a_comparison_is_live_too(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    jobs = five_overlaid(alone, fresh_server, trainer)
    for job in jobs:
        log(trainer, job, 11, 15)
    all_arrived(alone, jobs, 15)


def test_every_job_of_a_comparison_goes_on_after_a_restart_of_the_service(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    jobs = five_overlaid(alone, fresh_server, trainer)
    fresh_server.stop()
    expect(alone.locator(".notice")).to_contain_text("The service does not answer.")
    fresh_server.start()
    for job in jobs:
        log(trainer, job, 11, 20)
    all_arrived(alone, jobs, 20)
    expect(alone.locator(".notice")).to_be_hidden()


def test_a_restart_of_any_training_of_a_comparison_is_seen(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    jobs = five_overlaid(alone, fresh_server, trainer)
    for job in jobs:
        trainer.post(f"/v1/fine-tunes/{job.id}/attempts", json={"from_step": 6})
    all_arrived(alone, jobs, 5)


def five_overlaid(page: Page, server: Server, trainer: httpx2.Client) -> list[RecordedJob]:
    """Five jobs of ten steps, and their comparison, drawn."""
    jobs = [create_job(trainer) for _ in range(5)]
    for job in jobs:
        log(trainer, job, 1, 10)
    page.goto(f"{server.url}/?" + "&".join(f"job={job.id}" for job in jobs))
    drawn(page, "loss")
    return jobs


def all_arrived(page: Page, jobs: list[RecordedJob], steps: int) -> None:
    """Every job has a line of so many steps."""
    wait_until(
        page,
        """([jobs, steps]) => { const lines = document.querySelector('.chart').chart.lines
             .filter(({key}) => key === 'train/loss');
           return lines.length === jobs && lines.every(({length}) => length === steps); }""",
        [len(jobs), steps],
    )


def test_what_has_grown_long_is_sampled(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    rows = [{"train/global_step": step, "train/loss": step % 100} for step in range(9_000)]
    trainer.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows[:2_000]})
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    note = drawn(alone, "loss", "all").locator(".note")
    expect(note).to_have_text("2,000 of 2,000 points")
    trainer.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows[2_000:]})
    drawn(alone, "loss", "minmax")
    expect(note).to_have_text(re.compile(r"^1,\d\d\d of 9,000 points$"))


def test_a_tab_that_nobody_sees_lets_go_of_its_stream(
    alone: Page, fresh_server: Server, trainer: httpx2.Client
) -> None:
    job = create_job(trainer)
    log(trainer, job, 1, 10)
    alone.goto(f"{fresh_server.url}/?job={job.id}")
    expect(alone.locator(".board")).to_have_attribute("data-live", "live")
    hide(alone, True)
    expect(alone.locator(".board")).to_have_attribute("data-live", "paused")
    log(trainer, job, 11, 20)
    hide(alone, False)
    expect(alone.locator(".board")).to_have_attribute("data-live", "live")
    arrived(alone, 20)


def hide(page: Page, hidden: bool) -> None:
    """What the browser says when another tab is in front; headless tabs are always seen."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
          document.dispatchEvent(new Event('visibilitychange')); }""",
        hidden,
    )
