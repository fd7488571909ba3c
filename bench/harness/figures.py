"""Rates, percentiles, medians over rounds, and the bars that they must reach."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

HOLDS: Final[Mapping[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le}


class Bar(Struct, frozen=True, kw_only=True):
    """One promise: the measured value, the required one, and whether it holds. None: not measured."""

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
    """Compare a value with its bar; a value that was not measured fails."""
    held = value is not None and HOLDS[comparison](value, required)
    return Bar(name=name, value=value, comparison=comparison, required=required, held=held)


def figures(latencies_seconds: Sequence[float], elapsed_seconds: float) -> Figures:
    """Return rate and percentiles of the requests that ended within a time."""
    ordered = sorted(latencies_seconds)
    return Figures(
        per_second=round(len(ordered) / elapsed_seconds, 1),
        p50_ms=round(percentile(ordered, 50) * 1_000, 3),
        p99_ms=round(percentile(ordered, 99) * 1_000, 3),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values by nearest rank; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median_figures(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the rounds."""
    return Figures(
        per_second=statistics.median(entry.per_second for entry in rounds),
        p50_ms=statistics.median(entry.p50_ms for entry in rounds),
        p99_ms=statistics.median(entry.p99_ms for entry in rounds),
    )


def median_ratio(rounds: Sequence[Figures], beside: Sequence[Figures]) -> float:
    """Return the median of the ratios of rates measured in the same round."""
    return round(
        statistics.median(entry.per_second / other.per_second for entry, other in zip(rounds, beside, strict=True)), 3
    )


def collapse(rates: Mapping[int, float]) -> float:
    """Return the lowest ratio of a concurrency's rate to the best rate at a lower concurrency.

    1.0 or more means that no concurrency was slower than a lower entry.
    """
    ordered = [rate for _, rate in sorted(rates.items())]
    ratios = [rate / max(ordered[:place]) for place, rate in enumerate(ordered) if place]
    return round(min(ratios, default=1.0), 3)
