"""Metrics that are computed when they are requested: of the parts of the process, and of the readers of the log."""

import asyncio
import time
from typing import Final

from bus.nats.relay_status import RelayStatus, read_relay_status
from callsheet.telemetry.metrics import Metrics, Values, create_unlabelled
from engine.engine import Engine
from gateway.http.request_counts import RequestCounts
from projections.runtime.follower import Following
from projections.runtime.read_pool import ReadModels
from projections.runtime.status import ProjectionStatuses, read_projection_statuses
from projections.runtime.worker import Worker
from store.errors import Unavailable
from store.log.log import Log

FRESH_SECONDS: Final = 1.0
"""Minimum interval between two reads of the database, however many requests there are."""


class ProcessMetrics:
    """Registers and renders the metrics of a process and of its database."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        parts: tuple[str, ...],
        log: Log,
        models: ReadModels,
        worker: Worker,
        engine: Engine,
    ) -> None:
        """Create it from the parts; nothing is read until `page`."""
        self._metrics = metrics
        self._parts = parts
        self._log = log
        self._models = models
        self._worker = worker
        self._engine = engine
        self.request_counts = RequestCounts()
        self._looking = asyncio.Lock()
        self._looked_at = -FRESH_SECONDS
        self._projections: ProjectionStatuses | None = None
        self._relay: RelayStatus | None = None
        self._register(metrics)

    async def page(self) -> bytes:
        """Return the page. Without a database it reports that and the other metrics."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= FRESH_SECONDS:
                await self._refresh()
                self._looked_at = time.monotonic()
            return self._metrics.page()

    async def _refresh(self) -> None:
        try:
            async with self._models.connection() as connection:
                self._projections = await read_projection_statuses(connection)
                relay = await read_relay_status(connection)
                self._relay = relay if relay.begun else None
        except Unavailable:
            self._projections = self._relay = None

    def _register(self, metrics: Metrics) -> None:
        metrics.gauge("up", "1 for each part that this process runs.", self._up)
        metrics.gauge("database.up", "Whether the database could be read for this page.", self._database)
        metrics.gauge("log.head", "The last position of the log.", self._head)
        metrics.gauge("log.epoch", "The number of the epoch of the log: it grows with each rewind.", self._epoch)
        metrics.counter(
            "log.positions.missing", "Positions without a row, as this process met them.", self._missing_positions
        )
        metrics.gauge("append.queue.commands", "Commands that wait to be appended.", self._queue)
        self._register_projections(metrics)
        self._register_relay(metrics)
        self._register_engine(metrics)
        metrics.counter("http.requests", "Requests answered, by route.", self._requests)
        metrics.counter("http.response", "Time until these answers began.", self._response_seconds, unit="s")

    def _register_projections(self, metrics: Metrics) -> None:
        metrics.gauge(
            "projection.lag.events",
            "Events between the checkpoint and the head.",
            lambda: self._read_projections("lag_events"),
        )
        metrics.gauge(
            "projection.lag", "Age of the first of them.", lambda: self._read_projections("lag_seconds"), unit="s"
        )
        metrics.gauge("projection.position", "The checkpoint.", lambda: self._read_projections("position"))
        metrics.gauge("projection.parked", "Workspaces parked in it.", lambda: self._read_projections("parked"))
        metrics.gauge("projection.followed", "Whether any process runs it.", self._read_followed)
        metrics.gauge("projection.here", "Whether this process runs it.", self._here)

    def _register_relay(self, metrics: Metrics) -> None:
        metrics.gauge(
            "relay.position", "Last position that the relay has published.", lambda: self._read_relay("cursor")
        )
        metrics.gauge("relay.lag.events", "Events not published yet.", lambda: self._read_relay("lag_events"))
        metrics.gauge("relay.lag", "Age of the first of them.", lambda: self._read_relay("lag_seconds"), unit="s")

    def _register_engine(self, metrics: Metrics) -> None:
        engine = self._engine
        metrics.gauge(
            "engine.runs.active", "Active runs of this engine.", lambda: create_unlabelled(engine.active_runs)
        )
        metrics.gauge("engine.runs.waiting", "Runs queued for a slot.", lambda: create_unlabelled(engine.waiting_runs))
        metrics.gauge(
            "engine.runs.stuck",
            "Runs that this engine stopped driving because of a fault.",
            lambda: create_unlabelled(len(engine.stuck_runs)),
        )
        metrics.counter("engine.steps", "Outcomes of steps that this engine has recorded.", self._steps)

    def _up(self) -> Values:
        return [({"part": part}, 1) for part in self._parts]

    def _database(self) -> Values:
        return create_unlabelled(int(self._projections is not None))

    def _head(self) -> Values:
        return () if self._projections is None else create_unlabelled(self._projections.head)

    def _epoch(self) -> Values:
        return create_unlabelled(len(self._log.identity.epochs) - 1)

    def _missing_positions(self) -> Values:
        return create_unlabelled(self._log.missing_positions)

    def _queue(self) -> Values:
        return create_unlabelled(self._log.waiting)

    def _read_projections(self, field: str) -> Values:
        found = () if self._projections is None else self._projections.projections.values()
        return [({"projection": entry.projection}, getattr(entry, field)) for entry in found]

    def _read_followed(self) -> Values:
        found = () if self._projections is None else self._projections.projections.values()
        return [({"projection": entry.projection}, int(entry.followed_by is not None)) for entry in found]

    def _here(self) -> Values:
        health = self._worker.health()
        return [({"projection": entry.name}, int(entry.doing is Following.FOLLOWING)) for entry in health]

    def _read_relay(self, field: str) -> Values:
        return () if self._relay is None else create_unlabelled(getattr(self._relay, field))

    def _steps(self) -> Values:
        counts = list(self._engine.step_counts.counts.items())
        return [({"kind": kind, "outcome": outcome}, count) for (kind, outcome), count in counts]

    def _requests(self) -> Values:
        return _label_by_route(self.request_counts.counts)

    def _response_seconds(self) -> Values:
        return _label_by_route(self.request_counts.seconds)


def _label_by_route(counts: dict[tuple[str, str, int], int] | dict[tuple[str, str, int], float]) -> Values:
    return [
        ({"method": method, "route": route, "status": str(status)}, count)
        for (method, route, status), count in list(counts.items())
    ]
