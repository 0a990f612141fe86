"""Several jobs, overlaid."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.page.recordings import FIRST, LONG, SECOND, STEPS, loss
from tests.page.visiting import chart, drawn, lines, query, wait_until


@pytest.fixture
def two(page: Page) -> Page:
    page.goto(f"/?job={FIRST}&job={SECOND}")
    drawn(page, "loss", "all")
    expect(page.locator(".legend-table tbody tr")).to_have_count(2)
    expect(page.locator(".legend-table")).to_contain_text("second")
    return page


def test_jobs_are_overlaid_each_in_its_colour(two: Page) -> None:
    found = lines(drawn(two, "loss"))
    assert [(line["owner"], line["key"]) for line in found] == [
        (FIRST, "train/loss"),
        (FIRST, "eval/loss"),
        (SECOND, "train/loss"),
        (SECOND, "eval/loss"),
    ]
    colours = {line["owner"]: line["colour"] for line in found}
    assert len(set(colours.values())) == 2
    assert [line["dash"] for line in found] == [False, True, False, True]


def test_colours_stay_with_their_job(two: Page) -> None:
    before = {line["owner"]: line["colour"] for line in lines(drawn(two, "loss"))}
    two.goto(f"/?job={FIRST}&job={SECOND}&job={LONG}")
    after = {line["owner"]: line["colour"] for line in lines(drawn(two, "loss"))}
    assert {owner: after[owner] for owner in before} == before


def test_the_legend_has_last_and_best_values(two: Page) -> None:
    row = two.locator(".legend-table tbody tr").nth(1)
    best = min(loss(step) for step in range(1, STEPS + 1))
    expect(row.locator("td.n")).to_have_text([f"{loss(STEPS):.4f}", f"{best:.4f}"])
    two.get_by_label("Values of").select_option("accuracy")
    highest = max(1 - loss(step) / 3 for step in range(50, STEPS + 1, 50))
    expect(row.locator("td.n").last).to_have_text(f"{highest:.4f}")
    two.wait_for_url("**legend=accuracy")


def test_a_job_is_hidden_shown_and_taken_out(two: Page) -> None:
    two.locator(".legend-table").get_by_role("button", name="second", exact=True).click()
    wait_until(two, "document.querySelector('.chart').chart.lines.length === 2")
    two.wait_for_url(f"**hidden={SECOND}")
    two.get_by_role("button", name="Take second out").click()
    expect(two.locator("h1")).to_have_text("first")
    assert query(two) == {"job": [FIRST]}


def test_the_settings_that_differ_are_a_table(two: Page) -> None:
    table = two.locator(".differences table")
    expect(table.locator("thead th")).to_have_text(["Job", "learning_rate", "lora.r"])
    expect(table.locator("tbody tr").nth(1)).to_contain_text("second")
    expect(table.locator("tbody tr").nth(1).locator("td")).to_have_text(["0.0001", "32"])
    expect(two.locator(".differences")).to_contain_text("settings are the same in all.")


def test_the_cursor_shows_the_values_of_all_by_name(two: Page) -> None:
    box = drawn(two, "grad_norm").locator(".u-over").bounding_box()
    assert box is not None
    two.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    tip = chart(two, "grad_norm").locator(".tip")
    expect(tip.locator("tr")).to_have_text(["first1.020", "second1.020"])
    here = chart(two, "grad_norm").locator(".where").text_content() or ""
    expect(chart(two, "learning_rate").locator(".where")).to_have_text(here)
    expect(chart(two, "learning_rate").locator(".legend b")).to_have_count(2)


def test_a_comparison_is_read_in_one_request_a_chart(page: Page) -> None:
    asked: list[dict[str, object]] = []
    page.on(
        "request",
        lambda r: asked.append(json.loads(r.post_data or "")) if "/query" in r.url else None,
    )
    page.goto(f"/?job={FIRST}&job={SECOND}&job={LONG}")
    drawn(page, "loss", "minmax")
    assert all(body["jobs"] == [FIRST, SECOND, LONG] for body in asked)
    assert all("keys" in body for body in asked)  # the draft came with the page


def test_a_job_that_cannot_be_read_is_named_and_the_others_are_shown(page: Page) -> None:
    page.goto(f"/?job={FIRST}&job=ft-nobody")
    drawn(page, "loss")
    expect(page.locator(".notice")).to_contain_text("Not to be read: ft-nobody.")
