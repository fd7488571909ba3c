"""The arithmetic of the benches: rates, percentiles, collapse and bars."""

from bench.harness.figures import bar, collapse, figures, median_ratio, percentile


def test_the_rate_counts_what_ended_within_the_time() -> None:
    measured = figures([0.004, 0.002, 0.003, 0.001], 2.0)
    assert (measured.per_second, measured.p50_ms, measured.p99_ms) == (2.0, 3.0, 4.0)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99), percentile(ordered, 100)) == (51.0, 100.0, 100.0)
    assert percentile([], 99) == 0.0


def test_collapse_compares_each_concurrency_with_the_best_at_a_lower_one() -> None:
    assert collapse({1: 100.0, 256: 500.0, 16: 1_000.0, 64: 800.0}) == 0.5
    assert collapse({1: 100.0, 16: 200.0}) == 2.0


def test_ratios_are_taken_within_a_round() -> None:
    slow, quick = figures([0.001] * 50, 1.0), figures([0.001] * 100, 1.0)
    assert median_ratio([slow, quick, quick], [slow, quick, quick]) == 1.0
    assert median_ratio([slow, slow, quick], [quick, quick, slow]) == 0.5


def test_what_was_not_measured_does_not_hold() -> None:
    assert not bar("projection lag", None, "<=", 1_000).held
    assert bar("projection lag", 1_000, "<=", 1_000).held
