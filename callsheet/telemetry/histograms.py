"""Histograms for the page of metrics, counted in place.

An instrument of OpenTelemetry took 4 µs to record one value, and every batch of the appender and of a projection
records two or three; here a value takes 0.2 µs.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Histogram(Collector):
    """Counts values by the first bound that they do not exceed, apart for each value of its label if it has one."""

    def __init__(self, name: str, description: str, bounds: Sequence[float], *, label: str | None = None) -> None:
        """Start at zero; `name` is the name on the page, with its unit."""
        self._name = name
        self._description = description
        self._bounds = bounds
        self._labels = () if label is None else (label,)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def record(self, value: float, *labels: str) -> None:
        """Count a value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> list[Metric]:
        """Return the counts as a Prometheus histogram, whose buckets are cumulative; empty if nothing was counted."""
        if not self._counts:
            return []
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        bounds = [*map(str, self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), self._sums[labels])
        return [family]
