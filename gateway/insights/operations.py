"""Insights: `GET /v1/projects/{projectId}/insights`."""

import re
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from msgspec import Struct, field

from domain.ids import from_uuid
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.insights.bodies import InsightsBody, create_insights_body
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, ResponseHeader
from gateway.operations.query import WorkflowId, malformed_parameter
from gateway.operations.results import Result
from gateway.projects import PROJECT_ID
from projections.insights.figures import Window
from projections.insights.recommendations.rules import recommendations

LENGTH: Final = re.compile(r"([0-9]{1,5})([hd])")
DEFAULT_LENGTH: Final = "7d"
HOUR: Final = timedelta(hours=1)


class InsightsQuery(Struct, frozen=True, kw_only=True):
    """The window of the figures: its length until now, or its start and optional end."""

    window: str | None = None
    from_: datetime | None = field(default=None, name="from")
    to: datetime | None = None
    workflow_id: WorkflowId | None = None


async def get_insights(request: RequestContext[InsightsQuery, None], deps: Deps) -> Result:
    """Return the figures of a project over a window, and recommendations."""
    project_id, workflow_id = request.target_id, request.query.workflow_id
    window = _create_window(request.query, deps.clock(), days_max=deps.settings.insights_days_max)
    seen = await deps.insights.read_insights(request.workspace_id, project_id, window, workflow_id)
    insights_id = _create_id(project_id, window, workflow_id)
    return Result(body=create_insights_body(insights_id, project_id, seen.figures, recommendations(seen)))


GET_INSIGHTS: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}/insights",
    operation_id="getInsights",
    tag="insights",
    summary="Get figures and recommendations of a project over a window of time.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    query=InsightsQuery,
    responses=(
        DeclaredResponse(
            status=200, description="The insights.", body=InsightsBody, headers=(ResponseHeader.POSITION,)
        ),
    ),
    reads=("projects", "insights", "runs", "workflows"),
    cost=5,
    handler=get_insights,
)

OPERATIONS: Final = (GET_INSIGHTS,)


def _create_window(query: InsightsQuery, now: datetime, *, days_max: int) -> Window:
    """Return the window of a query, widened to full hours. Raises Malformed."""
    if query.from_ is None and query.to is None:
        ends_at = _ceil_hour(now)
        starts_at = ends_at - _parse_length(query.window or DEFAULT_LENGTH)
        return _check_window("window", starts_at, ends_at, days_max=days_max)
    if query.window is not None:
        raise malformed_parameter("window", "must not be combined with `from` or `to`")
    if query.from_ is None:
        raise malformed_parameter("to", "requires `from`")
    ends_at = _ceil_hour(query.to or now)
    return _check_window("from", _floor_hour(query.from_), ends_at, days_max=days_max)


def _check_window(name: str, starts_at: datetime, ends_at: datetime, *, days_max: int) -> Window:
    # Two hours more than the days, since both ends are rounded to full hours.
    if not HOUR <= ends_at - starts_at <= timedelta(days=days_max, hours=2):
        raise malformed_parameter(name, f"must describe a window of one hour to {days_max} days")
    return Window(starts_at=starts_at, ends_at=ends_at)


def _parse_length(text: str) -> timedelta:
    found = LENGTH.fullmatch(text)
    if found is None:
        raise malformed_parameter("window", "must be a number of hours or days, such as `24h`, `7d` or `30d`")
    count = int(found[1])
    return timedelta(hours=count) if found[2] == "h" else timedelta(days=count)


def _floor_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _ceil_hour(at: datetime) -> datetime:
    floor = _floor_hour(at)
    return floor if floor == at else floor + HOUR


def _create_id(project_id: UUID, window: Window, workflow_id: UUID | None) -> str:
    """Return an id that is the same for the same question: a digest as a UUIDv8 (RFC 9562)."""
    question = f"{project_id} {window.starts_at.isoformat()} {window.ends_at.isoformat()} {workflow_id}"
    digest = bytearray(sha256(question.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return from_uuid("ins", UUID(bytes=bytes(digest)))
