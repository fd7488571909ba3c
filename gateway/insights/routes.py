"""Insights over HTTP: `GET /v1/projects/{projectId}/insights`."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from domain.ids import from_uuid
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door
from gateway.http.query import Query, id_of, unusable
from gateway.http.replies import Reply, json_reply
from gateway.insights.bodies import insights_body
from projections.insights.figures import Window
from projections.insights.recommendations.rules import recommendations

LENGTH: Final = re.compile(r"([0-9]{1,5})([hd])")
DEFAULT: Final = "7d"
HOUR: Final = timedelta(hours=1)
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9000
"""Far from where Python's calendar ends: the time before a window is looked at, too."""


class Insights:
    """The route of insights."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make it of what the gateway is built from."""
        self._view = deps.insights
        self._clock = deps.clock
        self._days_max = deps.settings.insights_days_max
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the route."""
        return [get("/v1/projects/{projectId:str}/insights", operation_id="getInsights")(self.insights)]

    async def insights(self, request: AnyRequest) -> Reply:
        """Give the figures of a project over a window, and what they recommend."""
        entry = self._door.enter(request, "runs:read", "window", "from", "to", "workflow_id")
        window = self._window(entry.query)
        workflow_id = id_of(entry.query, "workflow_id", "wf")
        project_id = await self._door.project(entry, "insights")
        for projection in ("runs", "workflows"):
            await self._door.reach(entry, projection)
        seen = await self._view.seen(entry.workspace_id, project_id, window, workflow_id)
        body = insights_body(_id_of(project_id, window, workflow_id), project_id, seen.figures, recommendations(seen))
        return json_reply(200, body)

    def _window(self, query: Query) -> Window:
        """Read `window`, or `from` and `to`; every window is of full hours. Raises Malformed."""
        if "from" not in query and "to" not in query:
            ends_at = _full_hour_after(self._clock())
            return self._checked("window", ends_at - _length(query.get("window", DEFAULT)), ends_at)
        if "window" in query or "from" not in query:
            name, said = ("window", "contradicts from and to") if "window" in query else ("to", "needs from")
            raise unusable(name, f"{said}: a window is said by its length (window=7d), or by from and perhaps to")
        ends_at = _time(query, "to") if "to" in query else self._clock()
        return self._checked("from", _full_hour_before(_time(query, "from")), _full_hour_after(ends_at))

    def _checked(self, name: str, starts_at: datetime, ends_at: datetime) -> Window:
        if not HOUR <= ends_at - starts_at <= timedelta(days=self._days_max, hours=2):
            raise unusable(name, f"gives no window: one is an hour or longer, and no longer than {self._days_max} days")
        return Window(starts_at=starts_at, ends_at=ends_at)


def _length(text: str) -> timedelta:
    found = LENGTH.fullmatch(text)
    if found is None:
        raise unusable("window", "is a number of hours or days: 24h, 7d, 30d")
    count = int(found[1])
    return timedelta(hours=count) if found[2] == "h" else timedelta(days=count)


def _time(query: Query, name: str) -> datetime:
    try:
        at = msgspec.convert(query[name].replace(" ", "+"), datetime, strict=False)  # `+` is a space in a query
    except msgspec.ValidationError as fault:
        raise unusable(name, "is a time by RFC 3339, such as 2026-05-01T12:00:00Z") from fault
    if at.tzinfo is None:
        raise unusable(name, "is a time with its zone: 2026-05-01T12:00:00Z")
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise unusable(name, f"is a time of the years {FIRST_YEAR} to {LAST_YEAR}")
    return at.astimezone(UTC)


def _full_hour_before(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _full_hour_after(at: datetime) -> datetime:
    before = _full_hour_before(at)
    return before if before == at else before + HOUR


def _id_of(project_id: UUID, window: Window, workflow_id: UUID | None) -> str:
    """Give an id that is the same for the same question; the digest stands in a UUIDv8 (RFC 9562)."""
    asked = f"{project_id} {window.starts_at.isoformat()} {window.ends_at.isoformat()} {workflow_id}"
    digest = bytearray(sha256(asked.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return from_uuid("ins", UUID(bytes=bytes(digest)))
