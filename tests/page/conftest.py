"""A real browser on a real server with recorded trainings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.page.recordings import record_everything
from tests.page.visiting import Visit
from tests.serving import PATIENCE, Server, create_job, require, training_rows

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    require(path, "Chromium is not there (scripts/browser)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows three trainings; tests may read them, and add jobs of their own."""
    folder = tmp_path_factory.mktemp("page")
    with Server(folder) as server:
        record_everything(server, folder)
        yield server
        assert server.stop() == 0
        assert "Traceback" not in "\n".join(server.log)


@pytest.fixture(scope="session")
def session_cookie(browser: Browser, recorded: Server) -> list[dict[str, object]]:
    """What a browser holds once it is signed in."""
    context = browser.new_context(base_url=recorded.url)
    answer = context.request.post("/session", data={"api_key": recorded.api_key})
    assert answer.status == 204
    cookies = [dict(cookie) for cookie in context.cookies()]
    context.close()
    return cookies


@pytest.fixture
def context(
    browser: Browser, recorded: Server, session_cookie: list[dict[str, object]], tmp_path: Path
) -> Iterator[BrowserContext]:
    """A signed-in browser of this test alone."""
    context = browser.new_context(
        base_url=recorded.url, viewport={"width": 1440, "height": 900}, accept_downloads=True
    )
    context.set_default_timeout(PATIENCE * 1000)
    context.add_cookies(session_cookie)  # type: ignore[arg-type]
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab, in which nothing may go wrong."""
    with Visit(context) as visit:
        yield visit.page


@pytest.fixture
def recorded_job(recorded: Server) -> str:
    """A job that runs: 40 of 100 steps, an hour to go."""
    with recorded.client() as api:
        job = create_job(api, total_steps=100, name="running")
        rows = training_rows()
        api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows})
        api.patch(f"/v1/fine-tunes/{job.id}", json={"progress": {"seconds_remaining": 3600}})
    return job.id


@pytest.fixture
def empty_job(recorded: Server) -> str:
    """A job of which nothing was logged."""
    with recorded.client() as api:
        return create_job(api).id


@pytest.fixture
def broad_job(recorded: Server) -> str:
    """A job of twenty metrics, and of more rows than a draft has."""
    names = [f"train/metric-{number:02}" for number in range(20)]
    with recorded.client() as api:
        job = create_job(api)
        rows = [{"train/global_step": step, **dict.fromkeys(names, step)} for step in range(5_000)]
        api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows})
    return job.id
