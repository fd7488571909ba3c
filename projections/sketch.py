"""A sketch of durations: percentiles within 2 %, from bins that add up exactly in any order.

It is the DDSketch of Masson, Rim and Lee (VLDB 2019) with the bins of the library's logarithmic mapping, kept sparse
and as integers: two sketches merge by adding, and the same durations give the same bytes however they came in batches.
"""

from typing import Final

from ddsketch.mapping import LogarithmicMapping
from msgspec import Struct

RELATIVE_ACCURACY: Final = 0.02

_mapping: Final = LogarithmicMapping(RELATIVE_ACCURACY)


class Sketch(Struct, kw_only=True, omit_defaults=True):
    """How long things took, in microseconds; `bins` count them by the order of their size."""

    count: int = 0
    sum_us: int = 0
    most_us: int = 0
    bins: dict[int, int] = {}

    def add(self, us: int) -> None:
        """Add one duration; less than a microsecond counts as one."""
        us = max(us, 1)
        self.count += 1
        self.sum_us += us
        self.most_us = max(self.most_us, us)
        key = _mapping.key(us)
        self.bins[key] = self.bins.get(key, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Add all durations of another sketch."""
        self.count += other.count
        self.sum_us += other.sum_us
        self.most_us = max(self.most_us, other.most_us)
        bins = self.bins
        for key, count in other.bins.items():
            bins[key] = bins.get(key, 0) + count

    def quantile_us(self, share: float) -> float:
        """Give the duration that so large a share does not exceed (0.95 for p95); 0 where there are none."""
        rank = share * (self.count - 1)
        passed = 0
        for key in sorted(self.bins):
            passed += self.bins[key]
            if passed > rank:
                return min(_mapping.value(key), float(self.most_us))
        return float(self.most_us)
