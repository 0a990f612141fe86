"""A tab that is watched, and what tests ask of the page in it."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.recording import until
from tests.serving import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)

EXPECTED = ("401 (Unauthorized)", "net::ERR_", "404 (Not Found)", "503 (Service Unavailable)")
"""What Chromium itself says on the console of answers that tests provoke."""


class Visit:
    """A tab; errors in it, and requests to any other host, fail the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", lambda request: self.requests.append(request))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(w in message.text for w in EXPECTED):
            self.errors.append(message.text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            assert self.errors == []
            local = ("http://127.0.0.1:", "data:", "blob:", "file:")
            assert [r.url for r in self.requests if not r.url.startswith(local)] == []


def chart(page: Page, name: str) -> Locator:
    """The chart of a metric."""
    return page.locator(f'.chart[data-chart="{name}"]')


def drawn(page: Page, name: str, sampling: str | None = None) -> Locator:
    """The chart of a metric, once it is drawn; from rows chosen so, if that is given."""
    one = chart(page, name)
    one.scroll_into_view_if_needed()
    expect(one.locator("canvas")).to_be_visible()
    expect(one.locator(".note")).to_contain_text("points")
    if sampling is not None:
        expect(one).to_have_attribute("data-sampling", sampling)
    expect(one).not_to_have_attribute("aria-busy", "true")
    return one


def lines(one: Locator) -> list[dict[str, Any]]:
    """The lines as they are drawn: whose, which key, xs and ys; non-finite values as words."""
    text = one.evaluate(
        """(element) => JSON.stringify(element.chart.lines.map((line) => ({
            owner: line.owner, key: line.key, faint: Boolean(line.faint), colour: line.colour,
            dash: Boolean(line.dash),
            xs: Array.from(line.xs.subarray(0, line.length)),
            ys: Array.from(line.ys.subarray(0, line.length),
                           (y) => Number.isFinite(y) ? y : String(y)),
            smooth: line.smooth && Array.from(line.smooth.subarray(0, line.length),
                           (y) => Number.isFinite(y) ? y : String(y)),
        })))"""
    )
    found: list[dict[str, Any]] = json.loads(text)
    return found


def line(one: Locator, key: str, *, faint: bool = False) -> dict[str, Any]:
    """The only line of a key."""
    (found,) = [line for line in lines(one) if line["key"] == key and line["faint"] is faint]
    return found


def wait_until(page: Page, expression: str, arg: Any = None) -> None:
    """Wait for an expression or function of JavaScript to be true.

    `Page.wait_for_function` would have the page evaluate a string, which its policy forbids.
    """
    until(lambda: page.evaluate(expression, arg), expression)


def drag(page: Page, one: Locator, begin: float, end: float) -> None:
    """Select a part of the x axis, given as shares of its width."""
    box = one.locator(".u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + begin * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + (begin + end) / 2 * box["width"], y, steps=4)
    page.mouse.move(box["x"] + end * box["width"], y, steps=4)
    page.mouse.up()


def query(page: Page) -> dict[str, list[str]]:
    """The parameters in the address."""
    found: dict[str, list[str]] = page.evaluate(
        """() => { const all = {};
          for (const [k, v] of new URLSearchParams(location.search)) (all[k] ??= []).push(v);
          return all; }"""
    )
    return found
