"""The measures of a bucket: counts, usage of models and sketches of durations. They add up to those of a window."""

from typing import Final

from msgspec import Struct

from projections.insights.duration_sketch import Sketch
from projections.timelines.run_timeline import UsageTotals


class Measures(Struct, kw_only=True, omit_defaults=True):
    """The measures of one bucket, all integers. Those that do not apply to its kind stay 0 or empty.

    Of runs: `retried` by a person. Of steps: `attempts` claimed, `retries` attempts that failed and were repeated,
    `recovered` steps that completed after more than one attempt, `rejected` answers of models, `truncated` answers that
    a limit cut, `late` results, `expired` decisions that the system made at a deadline; `edges` by their place in the
    graph; `errors` by class.
    """

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    skipped: int = 0
    reused: int = 0
    attempts: int = 0
    retries: int = 0
    recovered: int = 0
    rejected: int = 0
    late: int = 0
    decided: int = 0
    expired: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    unpriced: int = 0
    truncated: int = 0
    edges: dict[int, int] = {}
    errors: dict[str, int] = {}
    outcomes: dict[str, int] = {}
    duration: Sketch | None = None
    queue: Sketch | None = None
    human_wait: Sketch | None = None
    latency: Sketch | None = None
    first_token: Sketch | None = None

    def merge(self, other: "Measures") -> None:
        """Add the measures of another bucket."""
        for name in COUNTS:
            if count := getattr(other, name):
                setattr(self, name, getattr(self, name) + count)
        for name in TALLIES:
            if tally := getattr(other, name):
                _add(getattr(self, name), tally)
        for name in SKETCHES:
            sketch: Sketch | None = getattr(other, name)
            if sketch is not None:
                self._sketch(name).merge(sketch)

    def sort_keys(self) -> "Measures":
        """Sort every key in place and return self: equal measures are then equal bytes."""
        for name in TALLIES:
            if tally := getattr(self, name):
                setattr(self, name, dict(sorted(tally.items())))
        for name in SKETCHES:
            sketch: Sketch | None = getattr(self, name)
            if sketch is not None:
                sketch.bins = dict(sorted(sketch.bins.items()))
        return self

    def add_duration(self, name: str, us: int) -> None:
        """Add one duration in microseconds to the sketch of that name."""
        sketch: Sketch = getattr(self, name) or self._sketch(name)
        sketch.add(us)

    def _sketch(self, name: str) -> Sketch:
        sketch: Sketch | None = getattr(self, name)
        if sketch is None:
            sketch = Sketch()
            setattr(self, name, sketch)
        return sketch

    def copy_usage(self) -> "Measures":
        """Return a copy of the usage of models alone."""
        return Measures(**{name: getattr(self, name) for name in USAGE})

    def add_usage(self, totals: UsageTotals) -> None:
        """Add the usage of model calls."""
        self.calls += totals.calls
        self.input_tokens += totals.input_tokens
        self.output_tokens += totals.output_tokens
        self.cost_pico += totals.cost_pico
        self.unpriced += totals.unpriced


SKETCHES: Final = ("duration", "queue", "human_wait", "latency", "first_token")
USAGE: Final = ("calls", "input_tokens", "output_tokens", "cost_pico", "unpriced")
TALLIES: Final = ("edges", "errors", "outcomes")
COUNTS: Final = tuple(name for name in Measures.__struct_fields__ if name not in {*SKETCHES, *TALLIES})


def _add(tally: dict[str | int, int], other: dict[str | int, int]) -> None:
    for key, count in other.items():
        tally[key] = tally.get(key, 0) + count
