"""A sketch returns the library's quantiles within its accuracy, and merges to the same bytes in any order."""

import msgspec
import pytest
from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from projections.insights.duration_sketch import RELATIVE_ACCURACY, Sketch, find_bin

durations = st.lists(st.integers(1, 10**12), min_size=1, max_size=200)


def create_sketch(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def in_order(sketch: Sketch) -> bytes:
    sketch.bins = dict(sorted(sketch.bins.items()))
    return msgspec.json.encode(sketch)


def interpolate(values: list[int], share: float) -> float:
    """Return the quantile that spreadsheets give: between two values it is interpolated."""
    ordered, rank = sorted(values), share * (len(values) - 1)
    lower = int(rank)
    return ordered[lower] + (ordered[min(lower + 1, len(values) - 1)] - ordered[lower]) * (rank - lower)


@given(durations)
def test_a_quantile_is_within_the_accuracy_of_the_exact_one(values: list[int]) -> None:
    sketch = create_sketch(values)
    for share in (0.0, 0.5, 0.95, 0.99, 1.0):
        exact = interpolate(values, share)
        assert abs(sketch.quantile_us(share) - exact) <= RELATIVE_ACCURACY * exact * (1 + 1e-9)


@given(durations)
def test_a_value_of_a_bin_is_that_of_the_library(values: list[int]) -> None:
    ours, theirs = create_sketch([*values, 10**13]), DDSketch(RELATIVE_ACCURACY)
    for value in [*values, 10**13]:
        theirs.add(value)
    assert ours.quantile_us(0.0) == theirs.get_quantile_value(0.0)


def test_percentiles_of_few_values_are_between_them() -> None:
    two = create_sketch([100_000, 200_000])
    assert two.quantile_us(0.5) == pytest.approx(150_000, rel=RELATIVE_ACCURACY)
    assert two.quantile_us(0.95) == pytest.approx(195_000, rel=RELATIVE_ACCURACY)
    assert all(create_sketch([us]).quantile_us(0.95) == us for us in range(100_000, 110_000, 500))
    ten = create_sketch([1_000] * 9 + [1_000_000])
    assert ten.quantile_us(0.95) == pytest.approx(550_450, rel=RELATIVE_ACCURACY)
    assert ten.quantile_us(1.0) == 1_000_000


@given(durations, st.integers(0, 200))
def test_sketches_merge_to_the_same_bytes_however_they_were_cut(values: list[int], cut: int) -> None:
    first, second = create_sketch(values[:cut]), create_sketch(values[cut:])
    turned = create_sketch(values[cut:])
    turned.merge(create_sketch(values[:cut]))
    first.merge(second)
    assert in_order(first) == in_order(turned) == in_order(create_sketch(values))


@given(st.integers(1, 10**15))
def test_a_duration_is_in_the_bin_that_the_library_gives_it(us: int) -> None:
    mapping = LogarithmicMapping(RELATIVE_ACCURACY)
    edge = int(mapping.gamma ** mapping.key(us))
    for close in (us, edge, edge + 1):
        assert find_bin(close) == mapping.key(close)


def test_nothing_lasts_less_than_a_microsecond_and_no_sketch_gives_nothing() -> None:
    assert create_sketch([0]).bins == create_sketch([1]).bins
    assert Sketch().quantile_us(0.5) == 0
