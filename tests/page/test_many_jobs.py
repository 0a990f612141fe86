"""The list of ten thousand jobs is as quick to use as one of ten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.visiting import Visit
from tests.recording import until
from tests.serving import PATIENCE, Server, create_job
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch, JobDetails, Snapshot
from tunelog.store import Store

JOBS = 10_000
PAGE = 50


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with ten thousand jobs of one snapshot each."""
    folder = tmp_path_factory.mktemp("crowded")
    with Server(folder) as server:
        backend = SqliteBackend(folder / "tunelog.db")
        fill(backend.store(backend.projects()[0]))
        backend.close()
        yield server
        assert server.stop() == 0


def fill(store: Store) -> None:
    def record(number: int) -> None:
        job = store.create_job(JobDetails(model="tiny", name=f"job {number}")).id
        values: dict[str, int | float] = {"train/loss": number / 8}
        snapshot = Snapshot("train", 1, 1_767_225_600_000_000_000, values)
        store.append(job, Batch(snapshots=[snapshot], first_seq=0))

    with ThreadPoolExecutor(32) as pool:  # those that wait together share a commit
        list(pool.map(record, range(JOBS)))


@pytest.fixture
def crowd(browser: Browser, crowded: Server) -> Iterator[Page]:
    """A signed-in tab at the list."""
    context = browser.new_context(base_url=crowded.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    assert context.request.post("/session", data={"api_key": crowded.api_key}).status == 204
    with Visit(context) as visit:
        visit.page.goto("/")
        expect(visit.page.locator("tbody tr").first).to_be_visible()
        yield visit.page
    context.close()


def names(page: Page) -> list[str]:
    return page.locator("tbody td.what a").all_text_contents()


def test_only_what_is_looked_at_is_read(crowd: Page) -> None:
    expect(crowd.locator(".tally")).to_have_text(f"{JOBS:,} jobs")
    assert len(names(crowd)) <= 2 * PAGE
    expect(crowd.locator(".foot")).to_have_text(f"{len(names(crowd))} of {JOBS:,} shown")


def test_scrolling_reads_on_without_gap_or_repeat(crowd: Page) -> None:
    def read_on() -> bool:
        crowd.evaluate("scrollTo(0, document.body.scrollHeight)")
        return len(names(crowd)) >= 10 * PAGE

    until(read_on, "ten pages")
    shown = names(crowd)
    assert len(set(shown)) == len(shown)
    last = crowd.locator("tbody tr", has=crowd.get_by_role("link", name=shown[-1], exact=True))
    last.scroll_into_view_if_needed()
    expect(last.locator(".loss")).not_to_have_text("–")
    loss = (last.locator(".loss").text_content() or "").replace(",", "")
    assert float(loss) == pytest.approx(int(shown[-1].removeprefix("job ")) / 8, rel=1e-3)


def test_one_among_all_is_found(crowd: Page) -> None:
    crowd.get_by_label("Search jobs").fill("job 777")
    expect(crowd.locator(".tally")).to_have_text("11 jobs found")
    assert sorted(names(crowd)) == sorted(["job 777", *(f"job {n}" for n in range(7770, 7780))])
    crowd.get_by_label("Search jobs").fill("job 7777")
    expect(crowd.locator("tbody tr")).to_have_count(1)
    crowd.get_by_label("Status").select_option("completed")
    expect(crowd.locator(".state")).to_contain_text("No job is like that.")


def test_a_new_job_comes_first_and_the_place_in_the_list_is_kept(
    crowd: Page, crowded: Server
) -> None:
    until(lambda: len(names(crowd)) >= PAGE, "a page")
    crowd.evaluate("scrollTo(0, 700)")
    at = top_of(crowd, "tbody tr:nth-child(20)")
    twentieth = names(crowd)[19]
    with crowded.client() as api:
        job = create_job(api, name="the newest")
    try:
        newest = crowd.locator("tbody tr").first
        expect(newest).to_contain_text("the newest")
        assert names(crowd)[20] == twentieth
        assert top_of(crowd, "tbody tr:nth-child(21)") == pytest.approx(at, abs=1)
    finally:
        with crowded.client() as api:
            api.delete(f"/v1/fine-tunes/{job.id}")


def top_of(page: Page, selector: str) -> float:
    top: float = page.evaluate(
        "s => document.querySelector(s).getBoundingClientRect().top", selector
    )
    return top
