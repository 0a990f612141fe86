"""The pure modules, run where they are used: in the browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page


@pytest.fixture
def at_home(page: Page) -> Page:
    page.goto("/?search=nobody-has-this")
    return page


def run(page: Page, module: str, body: str, arg: Any = None) -> Any:
    """What a function of the module's exports `m` and `arg` returns."""
    script = f"async arg => {{ const m = await import('/page/{module}'); {body} }}"
    return page.evaluate(script, arg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (1234567, "1,234,567"),
        (-100, "−100"),
        (999_999.7, "1,000,000"),
        (0.123456, "0.1235"),
        (-2.5, "−2.500"),
        (12.3456, "12.35"),
        (11853.7, "11,854"),
        (0.0002, "2e−4"),
        (1.5e-7, "1.5e−7"),
        (3.21e12, "3.21e12"),
        (None, "–"),
    ],
)
def test_numbers_are_short_and_exact_enough(at_home: Page, value: Any, text: str) -> None:
    assert run(at_home, "format.js", "return m.number(arg);", value) == text


@pytest.mark.parametrize("value", [0, 0.25, -0.5, 999.5, -1234.5, 1234567.125, 9876543])
@pytest.mark.parametrize("decimals", [0, 1, 3])
def test_decimals_are_written_as_english_has_them(
    at_home: Page, value: float, decimals: int
) -> None:
    body = """const [value, decimals] = arg;
      const how = {minimumFractionDigits: decimals, maximumFractionDigits: decimals};
      return [m.fixed(value, decimals), value.toLocaleString("en", how).replace("-", "\u2212")];"""
    ours, english = run(at_home, "format.js", body, [value, decimals])
    assert ours == english


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (59, "59 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (180000, "2 d 2 h")],
)
def test_durations_have_two_units_at_most(at_home: Page, seconds: float, text: str) -> None:
    said = run(at_home, "format.js", "return m.duration(arg);", seconds)
    assert said.replace("\u2009", " ") == text


def test_smoothing_keeps_a_constant_and_skips_what_is_not_finite(at_home: Page) -> None:
    body = """const values = Float64Array.from([2, 2, NaN, 2, Infinity, 2]);
      const out = m.smooth(values, 0, 6, 0.9, new Float64Array(6), m.begun());
      return Array.from(out, (v) => Number.isFinite(v) ? Number(v.toFixed(12)) : String(v));"""
    assert run(at_home, "smoothing.js", body) == [2, 2, "NaN", 2, "Infinity", 2]


def test_smoothing_goes_on_where_it_stopped(at_home: Page) -> None:
    body = """const values = Float64Array.from({length: 50}, (_, i) => Math.sin(i));
      const whole = m.smooth(values, 0, 50, 0.8, new Float64Array(50), m.begun());
      const parts = new Float64Array(50), state = m.begun();
      m.smooth(values, 0, 20, 0.8, parts, state); m.smooth(values, 20, 50, 0.8, parts, state);
      return whole.every((v, i) => v === parts[i]);"""
    assert run(at_home, "smoothing.js", body) is True


def test_charts_are_made_of_names(at_home: Page) -> None:
    keys = ["train/lr", "train/loss", "eval/loss", "rewards/a", "train/rewards/b", "eval/acc"]
    body = "return m.chartsOf(arg).map(({name, group, keys}) => [name, group, keys]);"
    assert run(at_home, "names.js", body, [*keys, "train/nonfinite"]) == [
        ["loss", "", ["train/loss", "eval/loss"]],
        ["acc", "", ["eval/acc"]],
        ["lr", "", ["train/lr"]],
        ["rewards/a", "rewards", ["rewards/a"]],
        ["rewards/b", "rewards", ["train/rewards/b"]],
    ]


def test_rows_become_series_with_their_non_finite_values(at_home: Page) -> None:
    rows = [
        {"timestamp": 1e9, "train/global_step": 1, "train/loss": 0.5, "train/nonfinite": 1},
        {"timestamp": 2e9, "train/global_step": 2, "train/loss": "-Infinity"},
    ]
    body = """const series = m.seriesOf(arg); const one = series.get('train/loss');
      return [[...series.keys()], Array.from(one.steps.subarray(0, one.length)),
              Array.from(one.times.subarray(0, 2)), String(one.values[1])];"""
    assert run(at_home, "series.js", body, rows) == [["train/loss"], [1, 2], [1, 2], "-Infinity"]


def test_late_rows_are_put_in_their_place(at_home: Page) -> None:
    body = """const one = new m.Series(2); one.push(1, 1, 10); one.push(3, 3, 30);
      const along = new m.Projection(one, (step) => step);
      one.push(2, 2, 20); one.push(4, 4, 40); along.extend();
      return [Array.from(along.xs.subarray(0, 4)), Array.from(along.ys.subarray(0, 4))];"""
    assert run(at_home, "series.js", body) == [[1, 2, 3, 4], [10, 20, 30, 40]]


@pytest.mark.parametrize(("x", "index"), [(-5, 0), (0, 0), (4, 0), (6, 1), (25, 2), (99, 2)])
def test_the_nearest_point_is_found(at_home: Page, x: float, index: int) -> None:
    body = "return m.nearest(Float64Array.from([0, 10, 20]), 3, arg);"
    assert run(at_home, "series.js", body, x) == index


def test_epochs_lie_on_straight_lines_between_those_that_were_logged(at_home: Page) -> None:
    body = """const one = new m.Series();
      one.push(0, 0, 0); one.push(10, 0, 1); one.push(30, 0, 2);
      const epochs = new m.Epochs(new Map([['train/epoch', one]]));
      return [epochs.at(5), epochs.at(20), epochs.at(50), epochs.step(1.5)];"""
    assert run(at_home, "series.js", body) == [0.5, 1.5, 3, 20]


def test_no_two_jobs_share_a_colour_while_there_are_enough(at_home: Page) -> None:
    ids = [f"ft-{number}" for number in range(8)]
    body = "return [...m.assign(arg).values()];"
    assert sorted(run(at_home, "colours.js", body, ids)) == list(range(8))
    assert run(at_home, "colours.js", body, ids[:5]) == run(at_home, "colours.js", body, ids)[:5]


def test_events_are_read_however_they_are_cut(at_home: Page) -> None:
    text = (
        ': hello\r\n\nid: 7\nevent: snapshot\ndata: {"a":\ndata: 1}\n\nevent: status\ndata: {}\n\n'
    )
    body = """return Array.from({length: arg.length}, (_, cut) => { const seen = [];
      const parser = new m.Parser((...event) => seen.push(event));
      parser.take(arg.slice(0, cut)); parser.take(arg.slice(cut));
      return JSON.stringify(seen); });"""
    found = set(run(at_home, "live.js", body, text))
    assert found == {'[["snapshot",{"a":1},"7"],["status",{},null]]'}
