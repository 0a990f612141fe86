"""Who may see the page: a key, a link, a cookie."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.page.recordings import FIRST
from tests.page.visiting import Visit, drawn
from tests.serving import PATIENCE, Server


@pytest.fixture
def stranger(browser: Browser, recorded: Server) -> Iterator[BrowserContext]:
    """A browser that was never here."""
    context = browser.new_context(base_url=recorded.url)
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


def test_a_key_signs_in_and_the_view_that_was_asked_for_is_shown(
    stranger: BrowserContext, recorded: Server
) -> None:
    with Visit(stranger) as visit:
        page = visit.page
        page.goto(f"/?job={FIRST}&log=loss")
        page.get_by_label("API key").fill("tl-wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("There is no such key, or it was revoked.")
        page.get_by_label("API key").fill(recorded.api_key)
        page.get_by_role("button", name="Sign in").click()
        drawn(page, "loss")
        page.wait_for_url(f"**/?job={FIRST}&log=loss")
        (cookie,) = stranger.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        assert all(recorded.api_key not in request.url for request in visit.requests)


def test_signing_out_ends_it(stranger: BrowserContext, recorded: Server) -> None:
    answer = stranger.request.post("/session", data={"api_key": recorded.api_key})
    assert answer.status == 204
    with Visit(stranger) as visit:
        visit.page.goto("/")
        visit.page.get_by_role("button", name="Sign out").click()
        expect(visit.page.get_by_label("API key")).to_be_focused()
        visit.page.reload()
        expect(visit.page.get_by_label("API key")).to_be_visible()


def test_the_link_that_serve_prints_signs_in_once(
    stranger: BrowserContext, fresh_server: Server
) -> None:
    (link,) = re.findall(r"http\S+/sign-in\?code=\S+", "\n".join(fresh_server.printed))
    with Visit(stranger) as visit:
        visit.page.goto(link)
        expect(visit.page.locator("h1")).to_have_text("Jobs")
        assert "code" not in visit.page.url
        stranger.clear_cookies()
        visit.page.goto(link)
        expect(visit.page.locator(".sign-in")).to_contain_text("used already")


def test_the_policy_lets_no_inline_script_run(page: Page) -> None:
    answer = page.goto("/")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
