"""Wiring of the gateway: the ASGI application, and its background tasks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from uuid_utils.compat import uuid7

from callsheet.clock import utc_now
from callsheet.settings.load import Settings
from callsheet.wiring.core import Core
from domain.setting_types import SigningSecret
from gateway.access.access import Access
from gateway.access.follower import AccessFollower
from gateway.access.open_requests import OpenRequests
from gateway.app import build_app
from gateway.deps import Deps
from gateway.drain import Drain
from gateway.flags.flags import FeatureFlags
from gateway.http.unread import Unread
from gateway.identity.api_keys import ApiKeyVerifier
from gateway.identity.assembly import IdentityParts, assemble_identity
from gateway.identity.tickets import Tickets
from gateway.identity.tokens import Identity
from gateway.limits.limiter import RateLimiter
from gateway.limits.policies import Policies, Policy
from gateway.settings import LimitSettings
from gateway.streams.encoding import EventEncoder
from gateway.streams.run_states import RunStates
from gateway.streams.sharing import SharedBytes
from gateway.streams.socket_counts import SocketCounts
from gateway.streams.sources import WorkflowsOfRuns
from gateway.streams.turns import ReplayTurns
from projections.insights.view import InsightsView
from projections.read_models.assets_view import AssetsView
from projections.read_models.history_view import HistoryView
from projections.read_models.projects_view import ProjectsView
from projections.read_models.runs_view import RunsView
from projections.read_models.tasks_view import TasksView
from projections.read_models.workflows_view import WorkflowsView
from projections.workspace_tables.table import ANNOUNCEMENTS, API_KEYS
from projections.workspace_tables.view import WorkspaceView
from store.credential_uses import CredentialUses
from store.rate_limits import RateLimitBuckets
from store.stream_tickets import StreamTickets


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The gateway: its ASGI application, what its handlers depend on, and its background tasks."""

    app: Callable[..., Awaitable[None]]
    deps: Deps
    identity: IdentityParts
    follower: AccessFollower
    credential_uses: CredentialUses
    open_requests: OpenRequests
    socket_counts: SocketCounts
    flags: FeatureFlags
    unread: Unread
    buckets: RateLimitBuckets

    async def run(self) -> None:
        """Keep the background tasks of the gateway going until cancelled. When one dies all end, with its reason."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.identity.run(), name="identity")
            group.create_task(self.follower.run(), name="access")
            group.create_task(self.credential_uses.run(), name="credential uses")
            group.create_task(self.flags.run(), name="feature flags")
            group.create_task(self.buckets.run(), name="rate limits")

    async def wait_until_ready(self) -> None:
        """Wait until revoked credentials and changed teams are noticed; serve requests from then on."""
        await self.follower.following.wait()


def create_gateway(core: Core, settings: Settings, secret: SigningSecret, drain: Drain) -> GatewayParts:
    """Create the gateway of a process. Raises FlagsUnusable."""
    limits = settings.identity
    uses = CredentialUses(core.log.sessions, interval_seconds=limits.credential_use_seconds)
    api_keys = ApiKeyVerifier(core.streams, utc_now, uses.record)
    identity = assemble_identity(limits, secret.reveal().encode(), api_keys, utc_now)
    open_requests = OpenRequests(utc_now)
    flags = FeatureFlags(settings.flags)
    buckets = RateLimitBuckets(core.log.sessions)
    limiter = create_limiter(settings.limit, buckets)
    deps = create_deps(core, settings, drain, identity.identity, uses, open_requests, flags, limiter)
    return GatewayParts(
        app=build_app(deps),
        deps=deps,
        identity=identity,
        follower=AccessFollower(core.feed, core.streams, api_keys, open_requests),
        credential_uses=uses,
        open_requests=open_requests,
        socket_counts=deps.socket_counts,
        flags=flags,
        unread=deps.unread,
        buckets=buckets,
    )


def create_limiter(settings: LimitSettings, buckets: RateLimitBuckets) -> RateLimiter | None:
    """Return the limiter of requests; None if they are not limited."""
    if not settings.enabled:
        return None
    policies = Policies(
        Policy(per_second=settings.workspace_per_second, burst=settings.workspace_burst),
        Policy(per_second=settings.credential_per_second, burst=settings.credential_burst),
        settings.overrides_file,
    )
    return RateLimiter(
        buckets,
        policies,
        lease_seconds=settings.lease_seconds,
        cached_max=settings.buckets_cached_max,
        clock=time.monotonic,
    )


def create_deps(  # what handlers depend on, by name
    core: Core,
    settings: Settings,
    drain: Drain,
    identity: Identity,
    uses: CredentialUses,
    open_requests: OpenRequests,
    flags: FeatureFlags,
    limiter: RateLimiter | None,
) -> Deps:
    """Return the dependencies of handlers: the views of the core's read models, and the given parts."""
    http, stream, models = settings.http, settings.stream, core.models
    return Deps(
        log=core.log, feed=core.feed, handler=core.handler, streams=core.streams,
        contents=core.contents, checkpoints=core.checkpoints, deltas=core.bus.deltas, workers=core.workers,
        projects=ProjectsView(models), workflows=WorkflowsView(models), assets=AssetsView(models),
        api_keys=WorkspaceView(API_KEYS, models), announcements=WorkspaceView(ANNOUNCEMENTS, models),
        runs=RunsView(models),
        tasks=TasksView(models), insights=InsightsView(models, most_buckets=http.insights_buckets_max),
        history=HistoryView(models),
        unread=Unread(http),
        identity=identity, credential_uses=uses, open_requests=open_requests, flags=flags, drain=drain,
        tickets=Tickets(StreamTickets(core.log.sessions), identity), limiter=limiter,
        access=Access(core.log, core.streams, owners_max=settings.identity.owners_cached_max),
        event_encoder=EventEncoder(
            core.contents, core.log.identity, cached_bytes=stream.events_cached_bytes
        ),
        presence=core.bus.presence, run_states=RunStates(core.streams, most_cached=stream.runs_folded),
        messages=SharedBytes(bytes_max=stream.events_cached_bytes), socket_counts=SocketCounts(stream.sockets_max),
        replay_turns=ReplayTurns(stream.replays_at_once),
        workflows_of_runs=WorkflowsOfRuns(core.streams, most_cached=stream.runs_cached),
        clock=utc_now, make_id=uuid7, check_ready=core.readiness.check, degraded=core.list_degraded,
        metrics=core.watch.page,
        request_counts=core.watch.request_counts, settings=http, stream_settings=stream,
    )  # fmt: skip
