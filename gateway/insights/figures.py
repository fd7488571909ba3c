"""Figures as they are sent: shares, percentiles in milliseconds, and money as decimal strings."""

from msgspec import Struct

from projections.insights.duration_sketch import Sketch
from projections.insights.measures import Measures
from projections.read_models.run_timeline import usd_of


class DurationBody(Struct, frozen=True, kw_only=True):
    """How long something took: percentiles are within 2 %, mean and longest exact; null where there was none."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    longest_ms: float | None


class UsageBody(Struct, frozen=True, kw_only=True):
    """What calls of models took; the cost is null where none of the calls had a price."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    unpriced_calls: int


def usage_body(measures: Measures) -> UsageBody:
    """Write what calls of models took."""
    priced = measures.calls > measures.unpriced
    return UsageBody(
        calls=measures.calls,
        input_tokens=measures.input_tokens,
        output_tokens=measures.output_tokens,
        cost_usd=usd_of(measures.cost_pico) if priced else None,
        unpriced_calls=measures.unpriced,
    )


def duration_body(sketch: Sketch | None) -> DurationBody:
    """Write how long something took."""
    if sketch is None:
        return DurationBody(count=0, mean_ms=None, p50_ms=None, p95_ms=None, p99_ms=None, longest_ms=None)
    return DurationBody(
        count=sketch.count,
        mean_ms=_ms(sketch.sum_us / sketch.count),
        p50_ms=_ms(sketch.quantile_us(0.5)),
        p95_ms=_ms(sketch.quantile_us(0.95)),
        p99_ms=_ms(sketch.quantile_us(0.99)),
        longest_ms=_ms(sketch.most_us),
    )


def _ms(us: float) -> float:
    return round(us / 1_000, 3)


def share_of(part: int, whole: int) -> float | None:
    """Give a share; null of nothing."""
    return round(part / whole, 4) if whole else None
