"""Blocks leave slow servers alone, and one slow block does not slow the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelog.backends.clickhouse.pace import LEAST, MOST, TIMES, Pace

lengths = st.floats(0, 60)


@given(st.lists(lengths, min_size=1))
def test_blocks_are_never_closer_nor_farther_apart_than_is_said(blocks: list[float]) -> None:
    pace = Pace()
    assert all(LEAST <= pace.after(seconds) <= MOST for seconds in blocks)


@given(st.floats(0.01, MOST / TIMES))
def test_servers_are_left_alone_for_twice_as_long_as_blocks_take(usual: float) -> None:
    pace = Pace()
    for _ in range(60):
        last = pace.after(usual)
    assert last == pytest.approx(max(LEAST, 3 * usual), rel=0.01)


@given(lengths)
def test_one_slow_block_hardly_slows_the_next(slow: float) -> None:
    pace = Pace()
    for _ in range(60):
        pace.after(0.05)
    assert pace.after(slow) < 0.35
    for _ in range(5):
        last = pace.after(0.05)
    assert last < 0.25
