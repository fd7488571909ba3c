"""A sketch of durations: percentiles within 2 %, from bins that can be added exactly in any order.

Source: the DDSketch of Masson, Rim and Lee (VLDB 2019) with the bins of the library's logarithmic mapping, sparse and
as integers: sketches merge by addition, and equal durations give equal bytes however they were batched.
"""

from math import ceil, log, log1p
from typing import Final

from ddsketch.mapping import LogarithmicMapping
from msgspec import Struct

RELATIVE_ACCURACY: Final = 0.02

_mapping: Final = LogarithmicMapping(RELATIVE_ACCURACY)
_ln2: Final = log(2)
_multiplier: Final = 1 / log1p(2 * RELATIVE_ACCURACY / (1 - RELATIVE_ACCURACY)) * _ln2


def find_bin(us: int) -> int:
    """Return the bin of a duration of at least 1 µs: the library's `key` in a third of its time.

    The same operations in the same order as the library's, so that both round alike and stored bins stay comparable.
    """
    return ceil(log(us) / _ln2 * _multiplier)


class Sketch(Struct, kw_only=True, omit_defaults=True):
    """Durations in microseconds; `bins` count them by order of magnitude."""

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
        key = find_bin(us)
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
        """Return the quantile of a share, such as 0.95 for p95, in microseconds; 0 for an empty sketch.

        Between two durations it is interpolated (type 7 of Hyndman and Fan, 1996, as spreadsheets do): the median of
        two is the middle between them, and p95 of three is not the second.
        """
        rank = share * (self.count - 1)
        lower = int(rank)
        below = self._find_value(lower)
        return below + (self._find_value(lower + 1) - below) * (rank - lower)

    def _find_value(self, index: int) -> float:
        """Return the duration at an index in order of length; the longest, which is exact, from the last index on."""
        passed = 0
        if index < self.count - 1:
            for key in sorted(self.bins):
                passed += self.bins[key]
                if passed > index:
                    return min(_mapping.value(key), float(self.most_us))
        return float(self.most_us)
