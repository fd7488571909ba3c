"""Counts of answered requests by route."""

from time import perf_counter
from typing import Final

METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
NO_ROUTE: Final = "none"
OTHER_METHOD: Final = "OTHER"


class RequestCounts:
    """Counts responses by method, route and status, and sums the time until each began.

    The route is its template, and unknown methods are counted together, so that callers cannot create new counters.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.counts: dict[tuple[str, str, int], int] = {}
        self.seconds: dict[tuple[str, str, int], float] = {}

    def record(self, method: str, route: str | None, status: int, received_at: float) -> None:
        """Count a response that begins now, to a request received at a time of `perf_counter`."""
        key = method if method in METHODS else OTHER_METHOD, route or NO_ROUTE, status
        self.counts[key] = self.counts.get(key, 0) + 1
        self.seconds[key] = self.seconds.get(key, 0.0) + perf_counter() - received_at
