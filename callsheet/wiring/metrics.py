"""Wiring of the metrics to the log."""

from callsheet.telemetry.fact_metrics import FactTally
from callsheet.telemetry.metrics import Metrics
from store.log.log import Log


def create_metrics(log: Log) -> Metrics:
    """Create the metrics of a process, and register them with its log; `Watch` adds the other parts."""
    metrics, tally = Metrics(), FactTally()
    log.measure(metrics.record_append)
    log.tell(tally.count_batch)
    tally.register(metrics)
    return metrics
