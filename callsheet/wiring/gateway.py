"""Wiring of the gateway: the ASGI application, and the tasks that it needs beside requests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from uuid_utils.compat import uuid7

from callsheet.clock import utc_now
from callsheet.settings.load import Settings
from callsheet.wiring.core import Core
from domain.setting_types import SigningSecret
from gateway.app import build_app
from gateway.deps import Deps
from gateway.drain import Drain
from gateway.identity.assembly import IdentityParts, assemble_identity
from gateway.operations.positions import PositionCodec
from gateway.streams.encoding import EventEncoder
from gateway.streams.sources import WorkflowsOfRuns
from projections.insights.view import InsightsView
from projections.read_models.assets_view import AssetsView
from projections.read_models.history_view import HistoryView
from projections.read_models.projects_view import ProjectsView
from projections.read_models.runs_view import RunsView
from projections.read_models.tasks_view import TasksView
from projections.read_models.workflows_view import WorkflowsView


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The gateway: its ASGI application, and what has to run as long as it serves."""

    app: Callable[..., Awaitable[None]]
    identity: IdentityParts

    async def run(self) -> None:
        """Keep the background tasks of the gateway going until cancelled."""
        await self.identity.run()


def create_gateway(core: Core, settings: Settings, secret: SigningSecret, drain: Drain) -> GatewayParts:
    """Create the gateway of a process."""
    http = settings.http
    identity = assemble_identity(settings.identity, secret.reveal().encode(), utc_now)
    positions = PositionCodec(core.log.identity)
    deps = Deps(
        log=core.log,
        feed=core.feed,
        handler=core.handler,
        streams=core.streams,
        contents=core.contents,
        projects=ProjectsView(core.models),
        workflows=WorkflowsView(core.models),
        assets=AssetsView(core.models),
        runs=RunsView(core.models),
        tasks=TasksView(core.models),
        insights=InsightsView(core.models, most_buckets=http.insights_buckets_max),
        history=HistoryView(core.models),
        checkpoints=core.checkpoints,
        identity=identity.identity,
        drain=drain,
        deltas=core.bus.deltas,
        workers=core.workers,
        event_encoder=EventEncoder(core.contents, positions, most_cached=http.stream_events_cached),
        workflows_of_runs=WorkflowsOfRuns(core.streams, most_cached=http.stream_runs_cached),
        clock=utc_now,
        make_id=uuid7,
        check_ready=core.readiness.check,
        degraded=core.list_degraded,
        metrics=core.watch.page,
        request_counts=core.watch.request_counts,
        settings=http,
    )
    return GatewayParts(app=build_app(deps), identity=identity)
