"""The laws of sampling."""

from __future__ import annotations

import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tunelog.downsample import MinMax, bucket_width, kept, minmax, uniform

sizes = st.integers(0, 400)
one_value = st.one_of(st.none(), st.floats(), st.integers(-3, 3))
resolutions = st.one_of(st.integers(-3, 60), st.integers(-(2**63), 2**63 - 1))


# ---------------------------------------------------------------- uniform


@given(matching=sizes, resolution=resolutions)
def test_uniform_is_the_formula(matching: int, resolution: int) -> None:
    if resolution >= matching:
        expected = list(range(matching))
    elif resolution == 1:
        expected = [matching - 1]
    else:
        expected = [
            math.floor(i * (matching - 1) / (resolution - 1)) for i in range(max(resolution, 0))
        ]
    assert list(uniform(matching, resolution)) == expected
    assert kept(matching, resolution) == len(expected)


@given(matching=st.integers(2, 10**15), resolution=st.integers(2, 50))
def test_uniform_keeps_exactly_so_many_ascending_with_both_ends(
    matching: int, resolution: int
) -> None:
    picks = list(uniform(matching, resolution))
    assert len(picks) == min(matching, resolution)
    assert picks == sorted(set(picks))
    assert (picks[0], picks[-1]) == (0, matching - 1)
    gaps = {after - before for before, after in pairwise(picks)}
    assert max(gaps) - min(gaps) <= 1


@given(matching=sizes)
def test_uniform_without_a_resolution_keeps_all(matching: int) -> None:
    assert list(uniform(matching, None)) == list(range(matching))


# ---------------------------------------------------------------- minmax

KEYS = ("a", "b", "c")
numbers = st.one_of(
    st.floats(-2, 2), st.integers(-3, 3), st.sampled_from([math.nan, math.inf, -math.inf])
)
values = st.dictionaries(st.sampled_from(KEYS), numbers)
histories = st.lists(values, max_size=120)


@given(rows=histories, keys=st.integers(0, 3), resolution=resolutions)
def test_minmax_keeps_at_most_so_many_ascending_with_both_ends(
    rows: list[dict[str, float]], keys: int, resolution: int
) -> None:
    picks = list(minmax(rows, KEYS[:keys], len(rows), resolution))
    assert picks == sorted(set(picks))
    assert len(picks) <= max(resolution, 0)
    if resolution >= len(rows):
        assert picks == list(range(len(rows)))
    elif resolution == 1:
        assert picks == [len(rows) - 1]
    elif resolution > 1:
        assert (picks[0], picks[-1]) == (0, len(rows) - 1)


@given(rows=histories.filter(bool), keys=st.integers(1, 3), resolution=st.integers(4, 40))
def test_minmax_keeps_the_lowest_and_the_highest_value_of_every_key_it_has_room_for(
    rows: list[dict[str, float]], keys: int, resolution: int
) -> None:
    picks = minmax(rows, KEYS[:keys], len(rows), resolution)
    for key in KEYS[: min(keys, (resolution - resolution // 10 - 2) // 2)]:
        logged = [row[key] for row in rows if not math.isnan(row.get(key, math.nan))]
        shown = [rows[i][key] for i in picks if not math.isnan(rows[i].get(key, math.nan))]
        assert (min(shown, default=None), max(shown, default=None)) == (
            min(logged, default=None),
            max(logged, default=None),
        )


@given(rows=histories, keys=st.integers(1, 2), resolution=st.integers(6, 20), data=st.data())
def test_minmax_keeps_its_picks_of_full_buckets_while_data_arrives(
    rows: list[dict[str, float]], keys: int, resolution: int, data: st.DataObject
) -> None:
    matching = data.draw(st.integers(0, len(rows)), label="earlier")
    width = bucket_width(len(rows), resolution, keys)
    if resolution >= matching or bucket_width(matching, resolution, keys) != width:
        return  # everything is kept, or the width has doubled meanwhile
    full = matching // width * width
    before = minmax(rows[:matching], KEYS[:keys], matching, resolution)
    after = minmax(rows, KEYS[:keys], len(rows), resolution)
    ends = {matching - 1, len(rows) - 1}  # kept for being the last, whatever they hold
    assert {i for i in before if i < full} - ends == {i for i in after if i < full} - ends


@given(
    st.lists(st.tuples(one_value, one_value), max_size=200),
    st.integers(4, 40),
    st.lists(st.integers(1, 50)),
)
def test_minmax_does_not_depend_on_how_many_rows_are_looked_at_at_once(
    rows: list[tuple[int | float | None, ...]], resolution: int, sizes: list[int]
) -> None:
    keys = ["a", "b"]
    dicts = [{k: v for k, v in zip(keys, row, strict=True) if v is not None} for row in rows]
    chosen, at = MinMax(keys, len(rows), resolution), 0
    while chosen.looks and at < len(rows):
        size = sizes.pop() if sizes else len(rows)
        chosen.add_rows([row[: len(chosen.watched)] for row in rows[at : at + size]])
        at += size
    assert list(chosen.ordinals()) == list(minmax(dicts, keys, len(rows), resolution))


@pytest.mark.parametrize("spike", [1, 317, 998])
def test_minmax_shows_a_single_spike_where_uniform_does_not(spike: int) -> None:
    rows = [{"loss": 9.0 if i == spike else 1.0} for i in range(1000)]
    assert spike in minmax(rows, ["loss"], 1000, 10)
    assert spike not in uniform(1000, 10)


def test_minmax_keeps_the_first_nan_of_a_bucket_until_they_are_a_tenth() -> None:
    odd = range(100, 900, 3)
    rows = [{"loss": math.nan if i in odd else float(i % 7)} for i in range(1000)]
    picks = minmax(rows, ["loss"], 1000, 100)
    width = bucket_width(1000, 100, 1)
    firsts = {min(i for i in odd if i // width == bucket) for bucket in {i // width for i in odd}}
    kept_odd = [i for i in picks if i in odd]
    assert kept_odd == sorted(firsts)[:10]
    assert len(kept_odd) == 10


@given(matching=st.integers(1, 10**9), resolution=st.integers(4, 10**4), keys=st.integers(1, 10))
def test_a_buckets_width_is_the_least_power_of_two_that_leaves_room(
    matching: int, resolution: int, keys: int
) -> None:
    width = bucket_width(matching, resolution, keys)
    room = max(1, (resolution - resolution // 10 - 2) // (2 * keys))
    assert width & (width - 1) == 0
    assert -(-matching // width) <= room
    assert width == 1 or -(-matching // (width // 2)) > room
