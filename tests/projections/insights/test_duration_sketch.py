"""A sketch gives what the library's gives, within its accuracy, and merges to the same bytes in any order."""

import msgspec
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


@given(durations)
def test_a_quantile_is_within_the_accuracy_and_as_the_library_gives_it(values: list[int]) -> None:
    ours, theirs = create_sketch(values), DDSketch(RELATIVE_ACCURACY)
    for value in values:
        theirs.add(value)
    for share in (0.0, 0.5, 0.95, 0.99, 1.0):
        exact = sorted(values)[int(share * (len(values) - 1))]
        assert abs(ours.quantile_us(share) - exact) <= RELATIVE_ACCURACY * exact * (1 + 1e-9)
        found = theirs.get_quantile_value(share)
        assert found is not None
        assert ours.quantile_us(share) == min(found, max(values))


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
