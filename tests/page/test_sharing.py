"""A share link, and a file that needs no service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.page.recordings import FIRST, LONG, LONG_STEPS, SECOND, SPIKE, STEPS
from tests.page.visiting import Visit, drag, drawn, line, lines, wait_until
from tests.serving import PATIENCE, Server


@pytest.fixture
def stranger(browser: Browser, recorded: Server) -> Iterator[BrowserContext]:
    """A browser that was never here."""
    context = browser.new_context(base_url=recorded.url)
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


def shared(page: Page) -> str:
    """Makes a share link of what is shown."""
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Share link").input_value()
    expect(page.locator(".shares li")).not_to_have_count(0)
    return link


def test_a_share_link_shows_the_view_to_whoever_has_it_until_it_is_revoked(
    page: Page, stranger: BrowserContext
) -> None:
    page.goto(f"/?job={FIRST}&smooth=0.5")
    drawn(page, "loss")
    link = shared(page)
    assert f"/?job={FIRST}&smooth=0.5#share=tls-" in link
    with Visit(stranger) as visit:
        visit.page.goto(link)
        one = drawn(visit.page, "loss")
        assert len(line(one, "train/loss")["smooth"]) == STEPS
        expect(visit.page.locator(".crumb")).to_contain_text("read-only")
        assert all("tls-" not in request.url for request in visit.requests)
        page.locator(".shares").get_by_role("button", name="Revoke").first.click()
        expect(page.locator(".shares li")).to_have_count(0)
        visit.page.reload()
        expect(visit.page.locator(".sign-in")).to_contain_text("expired or was revoked")


def test_a_share_link_opens_no_other_job(page: Page, stranger: BrowserContext) -> None:
    page.goto(f"/?job={FIRST}&job={SECOND}")
    drawn(page, "loss")
    link = shared(page)
    with Visit(stranger) as visit:
        visit.page.goto(link)
        assert {found["owner"] for found in lines(drawn(visit.page, "loss"))} == {FIRST, SECOND}
    token = link.partition("#")[2]
    with Visit(stranger) as visit:
        visit.page.goto(f"/?job={LONG}#{token}")
        expect(visit.page.locator("h1")).to_have_text("There is no such job here.")
    with Visit(stranger) as visit:
        visit.page.goto(f"/#{token}")
        expect(visit.page.locator("h1")).to_have_text("2 jobs")


def exported(page: Page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_an_exported_job_opens_without_a_service(
    page: Page, stranger: BrowserContext, tmp_path: Path
) -> None:
    page.goto(f"/?job={FIRST}&log=loss")
    drawn(page, "loss")
    path = exported(page, tmp_path)
    assert path.name == f"{FIRST}.html"
    stranger.set_offline(True)
    with Visit(stranger) as visit:
        visit.page.goto(path.as_uri())
        one = drawn(visit.page, "loss")
        assert len(line(one, "train/loss")["xs"]) == STEPS
        expect(visit.page.locator("h1")).to_have_text("first")
        expect(visit.page.locator(".summary")).to_contain_text("train/grad_norm")
        expect(one.locator(".note")).to_contain_text(f"{STEPS + 6} of {STEPS + 6} points")
        drag(visit.page, one, 0.2, 0.4)
        wait_until(visit.page, "document.querySelector('.chart').chart.plot.u.scales.x.max < 200")
        visit.page.get_by_role("radio", name="Epoch").check(force=True)
        drawn(visit.page, "loss")
        assert [r.url for r in visit.requests if not r.url.startswith(("file:", "blob:"))] == []


def test_an_exported_comparison_tells_how_many_points_there_were(
    page: Page, stranger: BrowserContext, tmp_path: Path
) -> None:
    page.goto(f"/?job={LONG}&job={SECOND}")
    drawn(page, "loss", "minmax")
    path = exported(page, tmp_path)
    with Visit(stranger) as visit:
        visit.page.goto(path.as_uri())
        one = drawn(visit.page, "loss", "minmax")
        expect(one.locator(".note")).to_contain_text(f" of {LONG_STEPS + STEPS + 6:,} points")
        (spiked,) = [found for found in lines(one) if found["owner"] == LONG]
        assert spiked["ys"][spiked["xs"].index(SPIKE)] == 99.0
