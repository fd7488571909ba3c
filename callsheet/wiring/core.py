"""Wiring of one process: its parts, and their common lifetime."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from bus.bus import Bus
from bus.feed import Feed
from callsheet.clock import utc_now
from callsheet.settings.load import Settings
from callsheet.telemetry.collect import ProcessMetrics
from callsheet.telemetry.metrics import Metrics
from callsheet.wiring.bus import create_bus
from callsheet.wiring.engine import create_engine, open_executors
from callsheet.wiring.identity import keep_checkpoint, reconcile_log
from callsheet.wiring.metrics import create_metrics
from callsheet.wiring.models import load_model_prices
from callsheet.wiring.projections import ALL_PROJECTIONS, create_projections
from callsheet.wiring.readiness import Readiness
from callsheet.wiring.seals import create_sealer
from commands.handler import Handler
from commands.repository import Streams
from domain.setting_types import SigningSecret
from engine.engine import Engine
from projections.runtime.checkpoints import Checkpoints
from projections.runtime.follower import Following
from projections.runtime.read_pool import ReadModels
from projections.runtime.run_admission import RunAdmission
from projections.runtime.worker import Worker
from store.contents import ContentStore
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.epochs import Witness
from store.log.identity import LogIdentity
from store.log.log import Log
from store.log.retention import keep_pruned
from store.seals.sealer import Sealer
from store.workers.pool import WorkerPool

EPOCH_NOTICE: Final = timedelta(hours=1)
"""How long `/readyz` reports that an epoch of the log began."""

COMPONENTS = ("store", "engine", "bus", "projections")
"""The packages with migrations, in the order in which they are applied."""


class Part(Enum):
    """A part of the product that a process can run; processes with the same part share its work."""

    GATEWAY = auto()
    ENGINE = auto()
    PROJECTIONS = auto()


Parts = frozenset[Part]
EVERYTHING: Parts = frozenset(Part)


def list_part_names(parts: Parts) -> tuple[str, ...]:
    """Return the names of parts, as metrics and logs show them."""
    return tuple(part.name.lower() for part in Part if part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts of a process, created and opened, that are not the gateway; only `parts` of them are kept going."""

    parts: Parts
    log: Log
    feed: Feed
    bus: Bus
    streams: Streams
    handler: Handler
    contents: ContentStore
    models: ReadModels
    checkpoints: Checkpoints
    worker: Worker
    engine: Engine
    sealer: Sealer | None
    readiness: Readiness
    settings: Settings
    watch: ProcessMetrics
    workers: WorkerPool

    async def check_ready(self) -> None:
        """Raise Unavailable, with the reason, unless this process can do its work."""
        await self.readiness.check()
        for missing in self._list_unconnected():
            raise Unavailable(missing)

    def _list_unconnected(self) -> tuple[str, ...]:
        """Return the parts of this process that have no connection of their own yet, or not any more."""
        lost = (row.name for row in self.worker.health() if row.doing is Following.CONNECTING)
        is_apart = Part.ENGINE in self.parts and not self.engine.live_epochs
        return (
            *(f"the projection {name} has no connection" for name in lost if Part.PROJECTIONS in self.parts),
            *(("the engine has not joined the other engines",) if is_apart else ()),
        )

    def list_degraded(self) -> tuple[str, ...]:
        """Return what is degraded in this process, for `/readyz`; the logs have the reasons."""
        parked = self.checkpoints.count_parked()
        stalled = (row.name for row in self.worker.health() if row.stalled)
        let_go = len(self.engine.stuck_runs)
        return (
            *(f"workspaces parked in the projection {name}: {count}" for name, count in sorted(parked.items())),
            *(f"the projection {name} does not move, and the log does" for name in stalled),
            *self._list_unconnected(),
            *((f"{let_go} runs were abandoned by the engine after a fault",) if let_go else ()),
            *self.bus.list_degraded(),
            *((f"the log is not sealed: {self.sealer.fault}",) if self.sealer and self.sealer.fault else ()),
            *list_epoch_notices(self.log.identity, utc_now()),
            *((f"positions missing in the log: {self.log.missing_positions}",) if self.log.missing_positions else ()),
        )

    async def run(self) -> None:
        """Run every part until cancelled. When one fails all end, with its exception.

        What the others rest on ends after them: for them a feed that has stopped is a fault.
        """
        async with asyncio.TaskGroup() as base:
            base.create_task(self.log.run(), name="log")
            base.create_task(self.log.monitor.run(), name="monitor")
            base.create_task(self.feed.run(), name="feed")
            async with asyncio.TaskGroup() as group:
                group.create_task(self.bus.run(), name="bus")
                group.create_task(keep_checkpoint(self.log, self.settings), name="checkpoint")
                if Part.PROJECTIONS in self.parts:
                    group.create_task(self.worker.run(), name="projections")
                    if self.sealer is not None:
                        group.create_task(self.sealer.run(), name="sealer")
                if Part.ENGINE in self.parts:
                    group.create_task(self.engine.run(), name="engine")
                group.create_task(keep_pruned(self.log.sessions, self.settings.store), name="retention")


@asynccontextmanager
async def open_core(
    settings: Settings,
    conninfo: str,
    *,
    name: str,
    secret: SigningSecret,
    parts: Parts,
    projections: Sequence[str] = ALL_PROJECTIONS,
    failpoint: FailPointHook = noop,
    remembered: Sequence[Witness] = (),
) -> AsyncGenerator[Core]:
    """Create and open the parts; `remembered` is what was known of the log. Raises UnsafeDatabase, Unavailable."""
    log = Log(conninfo, settings.store)
    feed = Feed(log, settings.feed, buffer_bytes=settings.cache.feed_bytes)
    models, checkpoints = create_read_models(conninfo, settings, log)
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(WorkerPool.open(settings.work))
        streams = create_streams(log, settings, workers)
        await stack.enter_async_context(log.open_readers())
        identity = await reconcile_log(log, settings, name, remembered)
        await stack.enter_async_context(models.open())
        metrics, names = create_metrics(log), list_part_names(parts)
        relayed = failpoint if Part.PROJECTIONS in parts else None
        bus = create_bus(settings, conninfo, log, identity, feed, name, relayed)
        executors = await stack.enter_async_context(open_executors(log, settings, secret, bus, workers))
        worker = create_worker(conninfo, log, feed, checkpoints, projections, settings, failpoint, metrics)
        admission = RunAdmission(log, models, checkpoints, settings.runs)
        engine = create_engine(
            conninfo, log, feed, streams, executors, models, settings, name, admission=admission, failpoint=failpoint
        )
        sealer = create_sealer(settings, conninfo, log, identity, feed)
        readiness = Readiness(log, checkpoints)
        await stack.enter_async_context(readiness.open())
        watch = ProcessMetrics(metrics, log=log, models=models, worker=worker, engine=engine, parts=names)
        yield Core(
            parts=parts, log=log, feed=feed, bus=bus, streams=streams,
            handler=Handler(log, streams, utc_now, load_model_prices(settings), admission.admit),
            contents=executors.contents, settings=settings, models=models, checkpoints=checkpoints,
            worker=worker, engine=engine, sealer=sealer, readiness=readiness, watch=watch, workers=workers,
        )  # fmt: skip


def create_read_models(conninfo: str, settings: Settings, log: Log) -> tuple[ReadModels, Checkpoints]:
    """Create the pool of connections that read the read models, and their checkpoints."""
    timeout_ms = settings.store.statement_timeout_ms
    models = ReadModels(conninfo, settings.projection, statement_timeout_ms=timeout_ms, monitor=log.monitor)
    return models, Checkpoints(models)


def create_streams(log: Log, settings: Settings, workers: WorkerPool) -> Streams:
    """Create the cache of folded streams."""
    return Streams(
        log,
        most_cached=settings.store.aggregate_cache_streams,
        bytes_cached=settings.cache.stream_bytes,
        workers=workers,
    )


def list_epoch_notices(identity: LogIdentity, now: datetime) -> tuple[str, ...]:
    """Return a notice for an epoch of the log that began lately, after a restore."""
    epoch = identity.epoch
    if epoch is identity.epochs[0] or epoch.began_at is None or now - epoch.began_at > EPOCH_NOTICE:
        return ()
    return (f"the log was rewound to position {epoch.after}: {epoch.reason}",)


def create_worker(
    conninfo: str,
    log: Log,
    feed: Feed,
    checkpoints: Checkpoints,
    projections: Sequence[str],
    settings: Settings,
    failpoint: FailPointHook,
    metrics: Metrics,
) -> Worker:
    """Create the worker of the named projections."""
    return Worker(
        conninfo,
        feed,
        create_projections(projections, bytes_remembered=settings.cache.projection_bytes),
        checkpoints,
        settings.projection,
        failpoint,
        metrics.record_fold,
        connections=log.monitor.connections,
    )
