"""Histograms are counted in place, and shown as an instrument of OpenTelemetry shows its own."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from callsheet.telemetry.histograms import Histogram
from callsheet.telemetry.metrics import SECONDS, SIZES

LABELS = st.sampled_from(["runs", "projects", 'with "quotes" and \\'])
SECONDS_TAKEN = st.floats(min_value=0, max_value=100) | st.sampled_from(SECONDS)


def instrument_page(name: str, unit: str, bounds: tuple[float, ...], values: list[tuple[str | None, float]]) -> bytes:
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    provider = MeterProvider(metric_readers=[reader], resource=Resource({}), shutdown_on_exit=False)
    instrument = provider.get_meter("callsheet").create_histogram(
        name, unit, "What it says.", explicit_bucket_boundaries_advisory=list(bounds)
    )
    for label, value in values:
        instrument.record(value, {} if label is None else {"projection": label})
    page = generate_latest(registry)
    provider.shutdown()
    return page


def counted_page(
    name: str, bounds: tuple[float, ...], values: list[tuple[str | None, float]], label: str | None
) -> bytes:
    histogram, registry = Histogram(name, "What it says.", bounds, label=label), CollectorRegistry()
    registry.register(histogram)
    for found, value in values:
        histogram.record(value, *([] if found is None else [found]))
    return generate_latest(registry)


@given(st.lists(st.tuples(LABELS, SECONDS_TAKEN)))
def test_times_by_label_are_shown_as_an_instrument_shows_them(values: list[tuple[str | None, float]]) -> None:
    counted = counted_page("callsheet_apply_seconds", SECONDS, values, "projection")
    assert counted == instrument_page("callsheet.apply", "s", SECONDS, values) or not values


@given(st.lists(st.tuples(st.none(), st.integers(min_value=0, max_value=10_000))))
def test_sizes_are_shown_as_an_instrument_shows_them(values: list[tuple[str | None, float]]) -> None:
    counted = counted_page("callsheet_sizes", SIZES, values, None)
    assert counted == instrument_page("callsheet.sizes", "", SIZES, values) or not values


def test_a_histogram_that_counted_nothing_is_not_shown() -> None:
    assert counted_page("callsheet_sizes", SIZES, [], None) == b""
