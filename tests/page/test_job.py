"""One job: its charts, and what is known of it beside them."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.page.recordings import FIRST, INFINITE, LONG, NAN, RESTART, SECOND, STEPS, eval_loss
from tests.page.visiting import chart, drawn, line, lines


@pytest.fixture
def first(page: Page) -> Page:
    page.goto(f"/?job={FIRST}")
    drawn(page, "loss")
    return page


def test_each_metric_has_a_chart_and_train_and_eval_of_a_name_share_one(first: Page) -> None:
    names = [one.get_attribute("data-chart") for one in first.locator(".chart").all()]
    assert names == ["loss", "accuracy", "learning_rate", "grad_norm", "epoch", "rewards/chosen"]
    one = drawn(first, "loss")
    assert [line["key"] for line in lines(one)] == ["train/loss", "eval/loss"]
    assert len(line(one, "eval/loss")["xs"]) == STEPS // 50


def test_charts_are_grouped_by_namespace(first: Page) -> None:
    group = first.get_by_role("region", name="rewards")
    expect(group.get_by_role("heading", level=3)).to_have_text("rewards")
    expect(group.locator(".chart h4")).to_have_text(["chosen"])


def test_status_progress_attempts_settings_and_events_are_beside_the_curves(first: Page) -> None:
    expect(first.locator("h1")).to_have_text("first")
    expect(first.locator(".about .status")).to_have_text("completed")
    facts = first.get_by_role("complementary", name="About this job")
    for text in (f"{STEPS} of {STEPS}", "0.0002", "lora.r", "adamw", f"from step {RESTART}"):
        expect(facts).to_contain_text(text)
    expect(facts.locator(".checkpoints li")).to_have_count(5 + 2)
    expect(facts.locator(".events .warning")).to_contain_text("The loss is not finite")


def test_a_running_job_shows_progress_and_time_left(page: Page, recorded_job: str) -> None:
    page.goto(f"/?job={recorded_job}")
    facts = page.get_by_role("complementary", name="About this job")
    expect(facts.locator(".progress")).to_contain_text("40% · 40 of 100 steps · ")
    expect(facts.locator(".progress")).to_contain_text("left")
    expect(facts.locator("progress")).to_have_js_property("value", 40)


def test_events_and_checkpoints_are_marked_in_time_with_the_curves(first: Page) -> None:
    marks = chart(first, "loss").evaluate(
        "(e) => e.chart.board.marks().map(({kind, x}) => [kind, x])"
    )
    assert ["attempt", RESTART] in marks
    assert ["event", NAN] in marks
    assert ["checkpoint", 150] in marks
    box = drawn(first, "loss").locator(".u-over").bounding_box()
    assert box is not None
    first.mouse.move(box["x"] + box["width"] * (NAN - 1) / (STEPS - 1), box["y"] + 90)
    expect(chart(first, "loss").locator(".tip")).to_contain_text("The loss is not finite")


def test_the_summary_has_last_best_and_what_is_not_finite(first: Page) -> None:
    row = first.locator('.summary tr[data-key="train/grad_norm"]')
    expect(row.locator("td").last).to_have_text(f"2, first at step {NAN}")
    best = first.locator('.summary tr[data-key="eval/loss"] td')
    lowest = min(range(50, STEPS + 1, 50), key=lambda step: eval_loss(step))
    expect(best.nth(2)).to_have_text(str(lowest))
    accuracy = first.locator('.summary tr[data-key="eval/accuracy"] td')
    expect(accuracy.nth(1)).to_have_text(accuracy.nth(4).text_content() or "")  # the highest


def test_values_that_are_not_finite_are_marked_and_counted(first: Page) -> None:
    one = drawn(first, "grad_norm")
    expect(one.locator(".note")).to_contain_text("NaN × 1, +∞ × 1")
    found = line(one, "train/grad_norm")
    assert found["ys"][found["xs"].index(NAN)] == "NaN"
    assert found["ys"][found["xs"].index(INFINITE)] == "Infinity"


def test_a_job_without_metrics_says_what_will_happen(page: Page, empty_job: str) -> None:
    page.goto(f"/?job={empty_job}")
    expect(page.locator(".state")).to_contain_text("Nothing has been logged yet.")


def test_a_job_that_is_not_there_says_so(page: Page) -> None:
    page.goto("/?job=ft-nobody")
    expect(page.locator("h1")).to_have_text("There is no such job here.")
    page.get_by_role("link", name="All jobs").click()
    expect(page.locator("h1")).to_have_text("Jobs")


def test_charts_out_of_sight_ask_for_nothing(page: Page, broad_job: str) -> None:
    page.set_viewport_size({"width": 600, "height": 400})
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.post_data or "") if "query" in r.url else None)
    page.goto(f"/?job={broad_job}")
    drawn(page, "metric-00", "minmax")
    assert not any("metric-19" in body for body in asked)
    drawn(page, "metric-19", "minmax")
    assert any("metric-19" in body for body in asked)


def test_a_job_is_left_for_another_without_loading_the_page_again(first: Page) -> None:
    first.evaluate("window.same = true")
    first.get_by_role("link", name="Jobs").click()
    first.get_by_role("link", name="second").click()
    drawn(first, "loss")
    assert (
        first.evaluate("window.same && new URLSearchParams(location.search).get('job')") == SECOND
    )
    first.go_back()
    expect(first.locator("h1")).to_have_text("Jobs")


def test_the_first_curves_come_with_the_page_and_few_rows_are_asked_for_once(page: Page) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    page.goto(f"/?job={FIRST}")
    drawn(page, "loss", "all")
    expect(page.locator(".summary table")).to_be_visible()
    calls = [request for request in asked if "/v1/" in request.url]
    assert calls[0].url.endswith("/v1/metrics/query")
    bodies = [json.loads(c.post_data or "") for c in calls if c.url.endswith("/query")]
    assert bodies == [{"nonfinite": "string", "jobs": [FIRST]}]


@pytest.mark.parametrize("sent", ["", '{"jobs":{"'])
def test_a_draft_that_did_not_come_whole_is_asked_for(page: Page, sent: str) -> None:
    def cut(route: Route) -> None:
        answer = route.fetch()
        held = re.compile(r'(id="draft"[^>]*>).*?(</script>)', re.DOTALL)
        route.fulfill(response=answer, body=held.sub(rf"\g<1>{sent}\g<2>", answer.text()))

    page.route("**/?job=*", cut)
    bodies: list[str] = []
    page.on("request", lambda r: bodies.append(r.post_data or "") if "/query" in r.url else None)
    page.goto(f"/?job={LONG}")
    drawn(page, "loss", "minmax")
    assert json.loads(bodies[0]) == {"nonfinite": "string", "jobs": [LONG], "resolution": 200}


def test_the_first_chart_does_without_the_rules_of_languages(page: Page) -> None:
    """They take a new tab tens of milliseconds to load."""
    page.add_init_script(
        """window.asked = [];
        for (const name of ["NumberFormat", "DateTimeFormat"]) {
          const real = Intl[name];
          Intl[name] = function (...given) { asked.push(name); return new real(...given); };
        }
        for (const kind of [Number, Date]) {
          const real = kind.prototype.toLocaleString;
          kind.prototype.toLocaleString = function (...given) {
            asked.push(kind.name); return real.apply(this, given);
          };
        }"""
    )
    page.goto(f"/?job={LONG}")
    drawn(page, "loss", "minmax")
    assert page.evaluate("window.asked") == []
