"""The figures of a measurement: rates, percentiles, medians over rounds, collapse, and the bars they are held to."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

HOLDS: Final[Mapping[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le}


class Bar(Struct, frozen=True, kw_only=True):
    """One promise: what was measured, what it is held to, and whether it holds. None: it was not measured."""

    name: str
    value: float | None
    comparison: Literal[">=", "<="]
    required: float
    held: bool


class Figures(Struct, frozen=True, kw_only=True):
    """One measurement at one concurrency."""

    per_second: float
    p50_ms: float
    p99_ms: float


def bar(name: str, value: float | None, comparison: Literal[">=", "<="], required: float) -> Bar:
    """Hold a value to a bar; what was not measured does not hold."""
    held = value is not None and HOLDS[comparison](value, required)
    return Bar(name=name, value=value, comparison=comparison, required=required, held=held)


def figures(latencies_seconds: Sequence[float], elapsed_seconds: float) -> Figures:
    """Sum up the latencies of everything that ended within a time."""
    ordered = sorted(latencies_seconds)
    return Figures(
        per_second=round(len(ordered) / elapsed_seconds, 1),
        p50_ms=round(percentile(ordered, 50) * 1_000, 3),
        p99_ms=round(percentile(ordered, 99) * 1_000, 3),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Give a percentile of ordered values by the nearest rank; 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median_figures(rounds: Sequence[Figures]) -> Figures:
    """Give the median of each figure over the rounds."""
    return Figures(
        per_second=statistics.median(one.per_second for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
    )


def median_ratio(rounds: Sequence[Figures], beside: Sequence[Figures]) -> float:
    """Give the median of the ratios of rates that were measured in the same round."""
    return round(
        statistics.median(one.per_second / other.per_second for one, other in zip(rounds, beside, strict=True)), 3
    )


def collapse(rates: Mapping[int, float]) -> float:
    """Give the lowest ratio of a concurrency's rate to the best rate at a lower concurrency.

    1.0 or more says that no concurrency was slower than a lower one.
    """
    ordered = [rate for _, rate in sorted(rates.items())]
    ratios = [rate / max(ordered[:place]) for place, rate in enumerate(ordered) if place]
    return round(min(ratios, default=1.0), 3)
