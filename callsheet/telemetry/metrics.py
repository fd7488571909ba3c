"""The metrics of one process: what its parts tell as they work, and the page on which all of it is read.

All of it is counted in place, in plain dictionaries and in histograms of our own, and read when the page is asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from callsheet.telemetry.histograms import Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)

Labels = Mapping[str, str]
Values = Iterable[tuple[Labels, float]]
"""The values of one metric now, each with its labels."""

NO_LABELS: Final[Labels] = {}


class Metrics:
    """The instruments of one process, and their page; made for the process and closed with it."""

    def __init__(self) -> None:
        """Make the histograms that the parts record batches with, and the meter of all else."""
        self._registry = CollectorRegistry()
        self._append_commands = self._histogram("append_batch_commands", "Commands that one append took.", SIZES)
        self._append_facts = self._histogram("append_batch_facts", "Facts that one append committed.", SIZES)
        self._append_seconds = self._histogram(
            "append_duration_seconds", "From sending an append to its answer.", SECONDS
        )
        self._fold_facts = self._histogram(
            "projection_batch_facts", "Facts that were folded at a time.", SIZES, label="projection"
        )
        self._fold_seconds = self._histogram(
            "projection_apply_duration_seconds", "Time to fold a batch and commit it.", SECONDS, label="projection"
        )
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self._registry)
        self._provider = MeterProvider(metric_readers=[reader], resource=Resource({}), shutdown_on_exit=False)
        self._meter = self._provider.get_meter("callsheet")

    def _histogram(
        self, name: str, description: str, bounds: Sequence[float], *, label: str | None = None
    ) -> Histogram:
        histogram = Histogram(f"callsheet_{name}", description, bounds, label=label)
        self._registry.register(histogram)
        return histogram

    def appended(self, commands: int, facts: int, seconds: float) -> None:
        """Record a batch of the appender."""
        self._append_commands.record(commands)
        self._append_facts.record(facts)
        self._append_seconds.record(seconds)

    def folded(self, projection: str, facts: int, seconds: float) -> None:
        """Record a batch of a projection."""
        self._fold_facts.record(facts, projection)
        self._fold_seconds.record(seconds, projection)

    def gauge(self, name: str, description: str, values: Callable[[], Values], *, unit: str = "") -> None:
        """Show values that go up and down, as they are when the page is asked for."""
        self._meter.create_observable_gauge(f"callsheet.{name}", [_observing(values)], unit, description)

    def counter(self, name: str, description: str, values: Callable[[], Values], *, unit: str = "") -> None:
        """Show values that only grow while the process lives."""
        self._meter.create_observable_counter(f"callsheet.{name}", [_observing(values)], unit, description)

    def page(self) -> bytes:
        """Give all of it in the text format of Prometheus."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Let go of the instruments."""
        self._provider.shutdown()


def _observing(values: Callable[[], Values]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: [Observation(value, dict(labels)) for labels, value in values()]


def alone(value: float) -> Values:
    """Give one value without labels."""
    return ((NO_LABELS, value),)
