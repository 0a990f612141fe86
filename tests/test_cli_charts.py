"""Charts hold whatever was logged, in every terminal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import uncoloured
from tunelog.cli.charts import Series, chart, ticks

STEPS = st.integers(0, 2**63 - 1)
VALUES = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
POINTS = st.lists(st.tuples(STEPS, VALUES), max_size=20)


@settings(deadline=None)  # the first drawing imports plotext
@given(train=POINTS, evaluated=POINTS, width=st.integers(40, 120))
def test_a_chart_is_never_wider_than_the_terminal(
    train: list[tuple[int, float]], evaluated: list[tuple[int, float]], width: int
) -> None:
    drawn = chart("loss", [Series("train", train), Series("eval", evaluated)], width)
    assert max(map(len, uncoloured(drawn))) <= width


@given(low=VALUES, high=VALUES, most=st.integers(2, 12))
def test_ticks_are_few_in_order_and_within_the_ends(low: float, high: float, most: int) -> None:
    low, high = sorted((low, high))
    found = ticks(float(low), float(high), most)
    assert 1 <= len(found) <= most
    assert found == sorted(found)
