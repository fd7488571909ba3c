"""What was answered, counted by route."""

from time import perf_counter
from typing import Any, Final

METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
NO_ROUTE: Final = "none"
NO_METHOD: Final = "OTHER"


class Answers:
    """Counts answers by method, route and status, and how long it took until each began.

    The route is its template, and a method is one of a few, so that callers cannot make the counts grow.
    """

    def __init__(self) -> None:
        """Begin at nothing."""
        self.counts: dict[tuple[str, str, int], int] = {}
        self.seconds: dict[tuple[str, str, int], float] = {}

    def begun(self, scope: Any, status: int, asked_at: float) -> None:  # noqa: ANN401  # an ASGI scope
        """Count an answer that begins now, to a request that came at a time of `perf_counter`."""
        method = scope["method"]
        key = method if method in METHODS else NO_METHOD, scope.get("path_template") or NO_ROUTE, status
        self.counts[key] = self.counts.get(key, 0) + 1
        self.seconds[key] = self.seconds.get(key, 0.0) + perf_counter() - asked_at
