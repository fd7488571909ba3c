"""Figures in responses: shares, percentiles in milliseconds, and money as decimal strings."""

from msgspec import Struct

from projections.insights.duration_sketch import Sketch
from projections.insights.measures import Measures
from projections.timelines.run_timeline import format_pico_as_usd


class DurationBody(Struct, frozen=True, kw_only=True):
    """Durations. Percentiles are within 2 %, and interpolated between two of `count`; mean and longest are exact."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    longest_ms: float | None


class UsageBody(Struct, frozen=True, kw_only=True):
    """Usage of model calls. The cost is null if no call had a price."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    unpriced_calls: int


def create_usage_body(measures: Measures) -> UsageBody:
    """Return the usage of model calls as it is sent."""
    priced = measures.calls > measures.unpriced
    return UsageBody(
        calls=measures.calls,
        input_tokens=measures.input_tokens,
        output_tokens=measures.output_tokens,
        cost_usd=format_pico_as_usd(measures.cost_pico) if priced else None,
        unpriced_calls=measures.unpriced,
    )


def create_duration_body(sketch: Sketch | None) -> DurationBody:
    """Return durations as they are sent."""
    if sketch is None:
        return DurationBody(count=0, mean_ms=None, p50_ms=None, p95_ms=None, p99_ms=None, longest_ms=None)
    return DurationBody(
        count=sketch.count,
        mean_ms=_to_milliseconds(sketch.sum_us / sketch.count),
        p50_ms=_to_milliseconds(sketch.quantile_us(0.5)),
        p95_ms=_to_milliseconds(sketch.quantile_us(0.95)),
        p99_ms=_to_milliseconds(sketch.quantile_us(0.99)),
        longest_ms=_to_milliseconds(sketch.most_us),
    )


def _to_milliseconds(us: float) -> float:
    return round(us / 1_000, 3)


def compute_share(part: int, whole: int) -> float | None:
    """Return a share, None if the whole is zero."""
    return round(part / whole, 4) if whole else None
