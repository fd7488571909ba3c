"""The metrics of one process: values that its parts record as they work, and the page that shows them.

All are counted in place, in plain dictionaries and in histograms of our own, and read when the page is requested.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from callsheet.telemetry.histograms import Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)

Labels = Mapping[str, str]
Values = Iterable[tuple[Labels, float]]
"""The values of one metric now, each with its labels."""

NO_LABELS: Final[Labels] = {}


class Metrics:
    """The instruments of one process, and their page."""

    def __init__(self) -> None:
        """Create the registry and the histograms of batches."""
        self._registry = CollectorRegistry()
        self._append_commands = self._histogram("append_batch_commands", "Commands of one append.", SIZES)
        self._append_facts = self._histogram("append_batch_facts", "Facts committed by one append.", SIZES)
        self._append_seconds = self._histogram(
            "append_duration_seconds", "Time from sending an append to its response.", SECONDS
        )
        self._fold_facts = self._histogram(
            "projection_batch_facts", "Facts folded in one batch.", SIZES, label="projection"
        )
        self._fold_seconds = self._histogram(
            "projection_apply_duration_seconds", "Time to fold a batch and commit it.", SECONDS, label="projection"
        )

    def _histogram(
        self, name: str, description: str, bounds: Sequence[float], *, label: str | None = None
    ) -> Histogram:
        histogram = Histogram(f"callsheet_{name}", description, bounds, label=label)
        self._registry.register(histogram)
        return histogram

    def record_append(self, commands: int, facts: int, seconds: float) -> None:
        """Record a batch of the appender."""
        self._append_commands.record(commands)
        self._append_facts.record(facts)
        self._append_seconds.record(seconds)

    def record_fold(self, projection: str, facts: int, seconds: float) -> None:
        """Record a batch of a projection."""
        self._fold_facts.record(facts, projection)
        self._fold_seconds.record(seconds, projection)

    def gauge(self, name: str, description: str, values: Callable[[], Values], *, unit: str = "") -> None:
        """Register a value that can decrease; it is read when the page is requested."""
        self._registry.register(ReadValues(GaugeMetricFamily, _full_name(name, unit), description, values))

    def counter(self, name: str, description: str, values: Callable[[], Values], *, unit: str = "") -> None:
        """Register a value that only grows while the process lives; its name on the page ends with `_total`."""
        self._registry.register(ReadValues(CounterMetricFamily, _full_name(name, unit), description, values))

    def page(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class ReadValues(Collector):
    """A metric whose values are read when the page is requested; without values it is not on the page."""

    def __init__(
        self,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        description: str,
        values: Callable[[], Values],
    ) -> None:
        """Create it from its name without `_total`, and the function that reads its values."""
        self._family = family
        self._name = name
        self._description = description
        self._values = values

    def describe(self) -> list[Metric]:
        """Return the metric without values: a name that is registered twice is an error."""
        return [self._family(self._name, self._description)]

    def collect(self) -> list[Metric]:
        """Return the metric with its values now."""
        values = list(self._values())
        if not values:
            return []
        family = self._family(self._name, self._description, labels=tuple(values[0][0]))
        for labels, value in values:
            family.add_metric(tuple(labels.values()), float(value))
        return [family]


def _full_name(name: str, unit: str) -> str:
    suffix = {"": "", "s": "_seconds"}[unit]
    return f"callsheet_{name.replace('.', '_')}{suffix}"


def create_unlabelled(value: float) -> Values:
    """Return one value without labels."""
    return ((NO_LABELS, value),)
