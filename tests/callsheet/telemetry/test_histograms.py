"""Histograms are counted in place, and shown in the text format of Prometheus."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from callsheet.telemetry.histograms import Histogram
from callsheet.telemetry.metrics import SECONDS, SIZES

LABELS = st.sampled_from(["runs", "projects", 'with "quotes" and \\'])
SECONDS_TAKEN = st.floats(min_value=0, max_value=100) | st.sampled_from(SECONDS)


def render(name: str, bounds: tuple[float, ...], values: list[tuple[str | None, float]], label: str | None) -> bytes:
    histogram, registry = Histogram(name, "What it says.", bounds, label=label), CollectorRegistry()
    registry.register(histogram)
    for found, value in values:
        histogram.record(value, *([] if found is None else [found]))
    return generate_latest(registry)


def parse(page: bytes) -> dict[tuple[str, str | None, float | None], float]:
    """Return each sample of a page by the end of its name, its label and its bucket."""
    return {
        (
            sample.name.rpartition("_")[2],
            sample.labels.get("projection"),
            float(sample.labels["le"]) if "le" in sample.labels else None,
        ): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def count(
    bounds: tuple[float, ...], values: list[tuple[str | None, float]]
) -> dict[tuple[str, str | None, float | None], float]:
    """Return the samples that the values have, counted one bucket at a time."""
    expected: dict[tuple[str, str | None, float | None], float] = {}
    for label in {label for label, _ in values}:
        of_label = [value for other, value in values if other == label]
        for bound in (*bounds, math.inf):
            expected["bucket", label, bound] = sum(value <= bound for value in of_label)
        expected["count", label, None] = len(of_label)
        expected["sum", label, None] = sum(of_label)
    return expected


@given(st.lists(st.tuples(LABELS, SECONDS_TAKEN)))
def test_times_are_counted_by_label_and_bucket(values: list[tuple[str | None, float]]) -> None:
    assert parse(render("callsheet_apply_seconds", SECONDS, values, "projection")) == count(SECONDS, values)


@given(st.lists(st.tuples(st.none(), st.integers(min_value=0, max_value=10_000))))
def test_sizes_are_counted_by_bucket(values: list[tuple[str | None, float]]) -> None:
    assert parse(render("callsheet_sizes", SIZES, values, None)) == count(SIZES, values)


def test_a_histogram_that_counted_nothing_is_not_shown() -> None:
    assert render("callsheet_sizes", SIZES, [], None) == b""
