"""What is looked at when the metrics are asked for: the parts of the process, and where the log's readers stand."""

import asyncio
import time
from typing import Final

from bus.nats.relay_status import RelayStatus, read_relay_status
from callsheet.telemetry.metrics import Metrics, Values, alone
from engine.engine import Engine
from gateway.http.request_counts import RequestCounts
from projections.runtime.follower import Following
from projections.runtime.read_pool import ReadModels
from projections.runtime.status import ProjectionStatuses, read_projection_statuses
from projections.runtime.worker import Worker
from store.errors import Unavailable
from store.log.log import Log

FRESH_SECONDS: Final = 1.0
"""The database is looked at so often at most, however many ask."""


class Watch:
    """Shows a process and its database on the page of its metrics."""

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
        """Take the parts; nothing is looked at until `page`."""
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
        self._show(metrics)

    async def page(self) -> bytes:
        """Look, and give the page. Without a database it says so, and gives the rest."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= FRESH_SECONDS:
                await self._look()
                self._looked_at = time.monotonic()
            return self._metrics.page()

    async def _look(self) -> None:
        try:
            async with self._models.connection() as connection:
                self._projections = await read_projection_statuses(connection)
                relay = await read_relay_status(connection)
                self._relay = relay if relay.begun else None
        except Unavailable:
            self._projections = self._relay = None

    def _show(self, metrics: Metrics) -> None:
        metrics.gauge("up", "1 for each part that this process keeps going.", self._up)
        metrics.gauge("database.up", "Whether the database could be asked for this page.", self._database)
        metrics.gauge("log.head", "The last position of the log.", self._head)
        metrics.gauge("append.queue.commands", "Commands that wait to be appended.", self._queue)
        self._show_projections(metrics)
        self._show_relay(metrics)
        self._show_engine(metrics)
        metrics.counter("http.requests", "Requests answered, by route.", self._requests)
        metrics.counter("http.response", "Time until these answers began.", self._response_seconds, unit="s")

    def _show_projections(self, metrics: Metrics) -> None:
        metrics.gauge("projection.lag.events", "Events after the checkpoint.", lambda: self._each("lag_events"))
        metrics.gauge("projection.lag", "Age of the first of them.", lambda: self._each("lag_seconds"), unit="s")
        metrics.gauge("projection.position", "The checkpoint.", lambda: self._each("position"))
        metrics.gauge("projection.parked", "Workspaces parked in it.", lambda: self._each("parked"))
        metrics.gauge("projection.followed", "Whether any process moves it.", self._followed)
        metrics.gauge("projection.here", "Whether this process moves it.", self._here)

    def _show_relay(self, metrics: Metrics) -> None:
        metrics.gauge("relay.position", "What the relay has published.", lambda: self._of_relay("cursor"))
        metrics.gauge("relay.lag.events", "Events not published yet.", lambda: self._of_relay("lag_events"))
        metrics.gauge("relay.lag", "Age of the first of them.", lambda: self._of_relay("lag_seconds"), unit="s")

    def _show_engine(self, metrics: Metrics) -> None:
        engine = self._engine
        metrics.gauge("engine.runs.active", "Runs that this engine has in hand.", lambda: alone(engine.active_runs))
        metrics.gauge("engine.runs.waiting", "Runs that wait for a place.", lambda: alone(engine.waiting_runs))
        metrics.gauge("engine.runs.stuck", "Runs that it had to let go.", lambda: alone(len(engine.stuck)))
        metrics.counter("engine.steps", "What steps came to, as this engine has recorded it.", self._steps)

    def _up(self) -> Values:
        return [({"part": part}, 1) for part in self._parts]

    def _database(self) -> Values:
        return alone(int(self._projections is not None))

    def _head(self) -> Values:
        return () if self._projections is None else alone(self._projections.head)

    def _queue(self) -> Values:
        return alone(self._log.waiting)

    def _each(self, field: str) -> Values:
        found = () if self._projections is None else self._projections.projections.values()
        return [({"projection": one.projection}, getattr(one, field)) for one in found]

    def _followed(self) -> Values:
        found = () if self._projections is None else self._projections.projections.values()
        return [({"projection": one.projection}, int(one.followed_by is not None)) for one in found]

    def _here(self) -> Values:
        health = self._worker.health()
        return [({"projection": one.name}, int(one.doing is Following.FOLLOWING)) for one in health]

    def _of_relay(self, field: str) -> Values:
        return () if self._relay is None else alone(getattr(self._relay, field))

    def _steps(self) -> Values:
        counts = list(self._engine.step_counts.counts.items())
        return [({"kind": kind, "outcome": outcome}, count) for (kind, outcome), count in counts]

    def _requests(self) -> Values:
        return _by_route(self.request_counts.counts)

    def _response_seconds(self) -> Values:
        return _by_route(self.request_counts.seconds)


def _by_route(counts: dict[tuple[str, str, int], int] | dict[tuple[str, str, int], float]) -> Values:
    return [
        ({"method": method, "route": route, "status": str(status)}, count)
        for (method, route, status), count in list(counts.items())
    ]
