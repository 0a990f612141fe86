"""Charts: axes, zoom, cursors, smoothing, sampling, what was superseded, and downloads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.recordings import CRASH, FIRST, LONG, LONG_STEPS, RESTART, SPIKE, STEPS, loss
from tests.page.visiting import chart, drag, drawn, line, lines, query, wait_until
from tests.serving import BEGIN, NS, Server, create_job


@pytest.fixture
def first(page: Page) -> Page:
    page.goto(f"/?job={FIRST}")
    drawn(page, "loss", "all")
    return page


@pytest.fixture
def long(page: Page) -> Page:
    page.goto(f"/?job={LONG}")
    drawn(page, "loss", "minmax")
    return page


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("word", "begin", "end"),
    [
        ("Step", 1, STEPS),
        ("Time", BEGIN / NS + 1, BEGIN / NS + 1000 + STEPS),
        ("Relative", 0, 999 + STEPS),
        ("Epoch", 3 / STEPS, 3),
    ],
)
def test_the_x_axis_is_step_time_relative_time_or_epoch(
    first: Page, word: str, begin: float, end: float
) -> None:
    first.get_by_role("radio", name=word, exact=True).check(force=True)
    one = drawn(first, "loss")
    wait_until(
        first,
        "end => Math.abs(document.querySelector('.chart').chart.plot.u.scales.x.max - end) < 0.6",
        arg=end,
    )
    xs = line(one, "train/loss")["xs"]
    assert xs[0] == pytest.approx(begin, abs=0.5 if word != "Epoch" else 0.01)
    assert xs[-1] == pytest.approx(end, abs=0.5 if word != "Epoch" else 0.01)
    assert xs == sorted(xs)
    expected = [] if word == "Step" else [word.lower()]
    wait_until(
        first,
        "word => (new URLSearchParams(location.search).get('x') ?? 'step') === word",
        arg=word.lower(),
    )
    assert query(first).get("x", []) == expected


def test_epochs_that_nobody_logged_cannot_be_chosen(long: Page) -> None:
    expect(long.get_by_role("radio", name="Epoch")).to_be_disabled()


def test_the_y_axis_is_logarithmic_on_demand(first: Page) -> None:
    button = chart(first, "loss").get_by_role("button", name="Logarithmic y axis")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    wait_until(first, "document.querySelector('.chart').chart.plot.u.scales.y.distr === 3")
    first.wait_for_url("**/?job=ft-first&log=loss")


# ---------------------------------------------------------------- sampling and zoom


def test_a_spike_is_not_sampled_away_and_the_counts_are_told(long: Page) -> None:
    one = drawn(long, "loss", "minmax")
    found = line(one, "train/loss")
    assert 700 <= len(found["xs"]) <= 1500
    assert found["ys"][found["xs"].index(SPIKE)] == 99.0
    expect(one.locator(".note")).to_have_text(f"{len(found['xs']):,} of {LONG_STEPS:,} points")


def test_values_that_are_not_finite_and_not_in_the_sample_are_counted(
    page: Page, recorded: Server
) -> None:
    with recorded.client() as api:
        job = create_job(api)
        odd = (2_001, 2_002, 2_003, 7_003)  # a sample has the first of each bucket
        rows = [
            {"train/global_step": step, "train/loss": "NaN" if step in odd else 1.0}
            for step in range(9_000)
        ]
        api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows})
    page.goto(f"/?job={job.id}")
    one = drawn(page, "loss", "minmax")
    expect(one.locator(".note")).to_contain_text("4 not finite in all")
    sampled = line(one, "train/loss")
    marked = [x for x, y in zip(sampled["xs"], sampled["ys"], strict=True) if y == "NaN"]
    assert marked[0] == 2_001
    assert marked[-1] == 7_003
    assert len(marked) < 4


def test_dragging_zooms_and_reads_the_range_at_full_budget(long: Page) -> None:
    one = drawn(long, "loss", "minmax")
    coarse = len(line(one, "train/loss")["xs"])
    with long.expect_request(
        lambda r: "global_step_from" in (r.post_data or "") and '"minmax"' in (r.post_data or "")
    ) as asked:
        drag(long, one, 0.5, 0.6)
    body = json.loads(asked.value.post_data or "")
    assert 45_000 < body["global_step_from"] < 50_100
    assert 59_900 < body["global_step_to"] < 65_000
    one = drawn(long, "loss", "minmax")
    wait_until(long, "document.querySelector('.chart').chart.lines[0].xs[0] > 40000")
    within = line(one, "train/loss")["xs"]
    assert len(within) > coarse / 3
    assert within[0] >= 45_000
    expect(one.locator(".note")).to_contain_text(" of 10,")
    assert query(long).keys() >= {"from", "to"}


def test_zoom_moves_every_chart_and_double_click_goes_back(first: Page) -> None:
    drag(first, drawn(first, "loss"), 0.25, 0.5)
    for name in ("loss", "grad_norm"):
        low, high = x_range(drawn(first, name))
        assert 70 < low < 80
        assert 145 < high < 155
    first.mouse.move(0, 0)
    drawn(first, "grad_norm").locator(".u-over").dblclick()
    first.wait_for_url("**/?job=ft-first")
    expect(chart(first, "loss").get_by_role("button", name="Reset zoom")).to_be_hidden()
    assert x_range(drawn(first, "loss"))[1] == STEPS


def test_back_and_escape_undo_a_zoom(first: Page) -> None:
    drag(first, drawn(first, "loss"), 0.25, 0.5)
    first.wait_for_url("**from=**")
    first.go_back()
    first.wait_for_url("**/?job=ft-first")
    drag(first, drawn(first, "loss"), 0.25, 0.5)
    first.wait_for_url("**from=**")
    first.keyboard.press("Escape")
    first.wait_for_url("**/?job=ft-first")


@pytest.mark.parametrize("axis", ["time", "relative"])
def test_a_zoom_in_time_asks_for_times(page: Page, axis: str) -> None:
    page.goto(f"/?job={LONG}&x={axis}")
    one = drawn(page, "loss", "minmax")
    with page.expect_request(lambda r: "logged_at_from" in (r.post_data or "")) as asked:
        drag(page, one, 0.5, 0.6)
    body = json.loads(asked.value.post_data or "")
    assert "2026-01-01T13:" <= body["logged_at_from"] < "2026-01-01T14:"
    drawn(page, "loss", "minmax")


def test_all_points_are_drawn_on_demand(long: Page) -> None:
    long.get_by_label("All points").check()
    one = drawn(long, "loss", "all")
    expect(one.locator(".note")).to_have_text(f"{LONG_STEPS:,} of {LONG_STEPS:,} points")
    long.wait_for_url("**points=all")


# ---------------------------------------------------------------- cursors, smoothing, restarts


def test_cursors_are_synchronous_and_show_values(first: Page) -> None:
    one = drawn(first, "loss")
    box = one.locator(".u-over").bounding_box()
    assert box is not None
    first.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    expect(one.locator(".where")).to_have_text("step 150")
    expect(one.locator(".legend b").first).to_have_text(f"{loss(150):.4f}")
    other = chart(first, "grad_norm")
    expect(other.locator(".where")).to_have_text("step 150")
    expect(other.locator(".legend b").first).to_have_text(f"{1 + 3 / 150:.3f}")


def test_smoothing_is_off_at_first_and_keeps_the_raw_line(first: Page) -> None:
    raw = line(drawn(first, "grad_norm"), "train/grad_norm")
    assert raw["smooth"] is None
    first.get_by_label("Smoothing").fill("0.9")
    first.wait_for_url("**smooth=0.9")
    wait_until(
        first,
        """[...document.querySelectorAll('.chart')].every(
            e => !e.chart.visible || e.chart.lines[0].smooth)""",
    )
    smoothed = line(drawn(first, "grad_norm"), "train/grad_norm")
    assert smoothed["ys"] == raw["ys"]
    assert smoothed["smooth"] == pytest.approx(debiased(raw["ys"], 0.9), nan_ok=True)


def debiased(values: list[float | str], weight: float) -> list[float | str]:
    """The exponential moving average, as it is defined."""
    out: list[float | str] = []
    average = weights = 0.0
    for value in values:
        if isinstance(value, str):
            out.append(value)
            continue
        average = weight * average + (1 - weight) * value
        weights = weight * weights + 1 - weight
        out.append(average / weights)
    return out


def test_what_a_restart_superseded_is_shown_on_demand(first: Page) -> None:
    one = drawn(first, "loss")
    effective = line(one, "train/loss")
    assert effective["xs"] == [float(step) for step in range(1, STEPS + 1)]
    assert effective["ys"][RESTART - 1] == pytest.approx(loss(RESTART) - 0.1)
    first.get_by_label("Superseded").check()
    wait_until(first, "document.querySelector('.chart').chart.lines.some(line => line.faint)")
    old = line(one, "train/loss", faint=True)
    assert old["xs"] == [float(step) for step in range(RESTART, CRASH + 1)]
    assert old["ys"][0] == pytest.approx(loss(RESTART))
    first.wait_for_url("**superseded=1")


def test_a_series_is_hidden_and_shown_by_its_legend(first: Page) -> None:
    one = drawn(first, "loss")
    one.locator(".legend").get_by_role("button", name="eval").click()
    wait_until(first, "document.querySelector('.chart').chart.lines.length === 1")
    assert [found["key"] for found in lines(one)] == ["train/loss"]
    first.wait_for_url("**hidden=eval/loss")


# ---------------------------------------------------------------- downloads


def saved(page: Page, one: Locator, item: str) -> Path:
    one.locator("summary").click()
    with page.expect_download() as download:
        one.get_by_role("button", name=item).click()
    return download.value.path()


def test_a_chart_is_saved_as_csv_with_every_point_of_the_range(long: Page) -> None:
    path = saved(long, drawn(long, "loss", "minmax"), "CSV, every point")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == LONG_STEPS
    assert rows[SPIKE] == {
        "job": LONG,
        "timestamp": str(BEGIN + SPIKE * NS),
        "train/global_step": str(SPIKE),
        "train/loss": "99",
    }


def test_a_chart_is_saved_as_json_with_words_for_what_is_not_finite(first: Page) -> None:
    path = saved(first, drawn(first, "grad_norm"), "JSON, every point")
    rows = json.loads(path.read_text())[FIRST]
    assert len(rows) == STEPS
    assert {row["train/grad_norm"] for row in rows if isinstance(row["train/grad_norm"], str)} == {
        "NaN",
        "Infinity",
    }


def test_a_chart_is_saved_as_png(first: Page) -> None:
    path = saved(first, drawn(first, "loss"), "PNG, as seen")
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_job_is_saved_as_csv(first: Page) -> None:
    with first.expect_download() as download:
        first.get_by_role("button", name="CSV", exact=True).click()
    with download.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == STEPS + STEPS // 50
    assert [r["train/global_step"] for r in rows if r["train/grad_norm"] == "NaN"] == ["120"]


# ---------------------------------------------------------------- the keyboard


def test_a_chart_is_read_and_zoomed_by_the_keyboard(first: Page) -> None:
    one = drawn(first, "loss")
    one.focus()
    first.keyboard.press("Home")
    first.keyboard.press("ArrowRight")
    expect(one.locator(".where")).to_have_text("step 2")
    expect(one.locator(".spoken")).to_have_text(
        f"step 2: train/loss {loss(2):.3f}, eval/loss {loss(50) + 0.1:.3f}"
    )
    first.keyboard.press("+")
    first.wait_for_url("**from=**")
    first.keyboard.press("0")
    first.wait_for_url("**/?job=ft-first")
    first.keyboard.press("l")
    first.wait_for_url("**log=loss")
    first.keyboard.press("w")
    expect(one).to_have_class("chart wide")


def x_range(one: Locator) -> tuple[float, float]:
    low, high = one.evaluate("(e) => [e.chart.plot.u.scales.x.min, e.chart.plot.u.scales.x.max]")
    return low, high
