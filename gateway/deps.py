"""Dependencies of the gateway; created by `callsheet.wiring.core`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.presence import PresenceHub
from commands.handler import Handler
from commands.repository import Streams
from domain.announcement import Announcement
from domain.api_key import ApiKey
from gateway.access.access import Access
from gateway.access.open_requests import OpenRequests
from gateway.drain import Drain
from gateway.flags.flags import FeatureFlags
from gateway.http.request_counts import RequestCounts
from gateway.http.unread import Unread
from gateway.identity.tickets import Tickets
from gateway.identity.tokens import Identity
from gateway.limits.limiter import RateLimiter
from gateway.settings import HttpSettings, StreamSettings
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
from projections.runtime.checkpoints import Checkpoints
from projections.workspace_tables.view import WorkspaceView
from store.contents import ContentStore
from store.credential_uses import CredentialUses
from store.log.log import Log
from store.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """The dependencies of handlers.

    `messages` are those of WebSockets that are encoded once for all, by event and position.
    `make_id` returns a UUIDv7, `check_ready` raises Unavailable unless the database can be used, `degraded` lists what
    does not work in this process, `metrics` returns the page of metrics.
    """

    log: Log
    feed: Feed
    handler: Handler
    streams: Streams
    contents: ContentStore
    projects: ProjectsView
    workflows: WorkflowsView
    assets: AssetsView
    api_keys: WorkspaceView[ApiKey]
    announcements: WorkspaceView[Announcement]
    credential_uses: CredentialUses
    runs: RunsView
    tasks: TasksView
    insights: InsightsView
    history: HistoryView
    checkpoints: Checkpoints
    identity: Identity
    tickets: Tickets
    access: Access
    limiter: RateLimiter | None
    open_requests: OpenRequests
    unread: Unread
    flags: FeatureFlags
    drain: Drain
    deltas: DeltaHub
    presence: PresenceHub
    run_states: RunStates
    messages: SharedBytes[tuple[str, int]]
    socket_counts: SocketCounts
    replay_turns: ReplayTurns
    event_encoder: EventEncoder
    workflows_of_runs: WorkflowsOfRuns
    workers: WorkerPool
    clock: Callable[[], datetime]
    make_id: Callable[[], UUID]
    check_ready: Callable[[], Awaitable[None]]
    degraded: Callable[[], tuple[str, ...]]
    metrics: Callable[[], Awaitable[bytes]]
    request_counts: RequestCounts
    settings: HttpSettings
    stream_settings: StreamSettings
