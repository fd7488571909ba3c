"""Wiring of the metrics: who tells them what."""

from collections.abc import Generator
from contextlib import contextmanager

from callsheet.telemetry.fact_metrics import FactTally
from callsheet.telemetry.metrics import Metrics
from store.log.log import Log


@contextmanager
def metrics_of(log: Log) -> Generator[Metrics]:
    """Keep the metrics of a process, told by its log of what is appended; the parts that are looked at come later."""
    metrics, tally = Metrics(), FactTally()
    log.measure(metrics.appended)
    log.tell(tally.committed)
    tally.show(metrics)
    try:
        yield metrics
    finally:
        metrics.close()
