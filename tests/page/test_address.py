"""The address holds the whole view."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.page.recordings import FIRST, SECOND
from tests.page.visiting import Visit, drawn, lines

WHOLE = (
    f"?job={FIRST}&job={SECOND}&x=relative&from=50&to=150.5&smooth=0.5&log=loss&log=grad_norm"
    f"&hidden={SECOND}&points=all&superseded=1&wide=loss&legend=accuracy&metrics=o"
)


@pytest.mark.parametrize(
    "query", ["", "?search=a%26b&status=running", WHOLE, "?job=ft-a&hidden=eval/loss"]
)
def test_a_view_and_its_address_are_made_from_each_other(page: Page, query: str) -> None:
    page.goto("/")
    assert (
        page.evaluate(
            "async q => { const v = await import('/page/view.js'); return v.format(v.parse(q)); }",
            query,
        )
        == query
    )


@pytest.mark.parametrize(
    "query", ["?x=moon", "?from=5", "?from=9&to=3", "?smooth=a", "?from=NaN&to=1", "?unknown=1"]
)
def test_what_is_no_view_is_left_out(page: Page, query: str) -> None:
    page.goto("/")
    formatted = page.evaluate(
        "async q => { const v = await import('/page/view.js'); return v.format(v.parse(q)); }",
        query,
    )
    assert formatted == ""


def test_a_link_shows_what_was_seen(page: Page) -> None:
    page.goto(f"/{WHOLE}")
    one = drawn(page, "loss")
    expect(one).to_have_class("chart wide")
    expect(page.get_by_role("radio", name="Relative")).to_be_checked()
    expect(page.get_by_label("All points")).to_be_checked()
    expect(page.get_by_label("Smoothing")).to_have_value("0.5")
    assert one.evaluate("e => [e.chart.plot.u.scales.x.min, e.chart.plot.u.scales.x.max]") == [
        50,
        150.5,
    ]
    assert {line["owner"] for line in lines(one)} == {FIRST}
    assert all(line["smooth"] for line in lines(one) if not line["faint"])
    expect(page.locator(".chart")).to_have_count(4)  # those with an o in their name


def test_no_key_is_ever_in_an_address_or_in_storage(context: BrowserContext, page: Page) -> None:
    with Visit(context) as visit:
        visit.page.goto(f"/?job={FIRST}")
        drawn(visit.page, "loss")
        assert all("tl-" not in request.url for request in visit.requests)
        kept = visit.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert json.loads(kept) == [{}, {}]
