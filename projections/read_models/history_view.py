"""Reading the history of a project: its facts in order, as they stand in the log, with filters."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from projections.runtime.read_pool import ReadModels
from store.log.queries import recorded_or_unreadable
from store.log.records import Page

LOOKED_AT: Final = 10_000
"""How many facts of a project one read looks through, at most: a rare filter must not hold a connection."""

STRETCH: Final = """
select coalesce(max(position), 0)
  from (select position
          from history
         where project_id = %(project)b and workspace_id = %(workspace)b and position > %(after)b
         order by position
         limit %(looked_at)b) as stretch
"""
"""Find how far a read looks."""

READ: Final = """
select e.notification_id, e.originator_id, e.originator_version, e.workspace_id, e.project_id, e.recorded_at, e.topic,
       e.state_format, e.key_id, e.state, e.metadata::text
  from (select position
          from history
         where project_id = %(project)b and workspace_id = %(workspace)b
           and position > %(after)b and position <= %(through)b
           and (%(topics)b::text[] is null or topic = any (%(topics)b))
           and (%(stream)b::uuid is null or stream_id = %(stream)b)
           and (%(actor)b::text is null or actor_id = %(actor)b)
           and (%(since)b::timestamptz is null or recorded_at >= %(since)b)
           and (%(until)b::timestamptz is null or recorded_at < %(until)b)
         order by position
         limit %(limit)b) as h
 cross join lateral (select * from events where notification_id = h.position limit 1) as e
 order by h.position
"""
"""Read matching facts of a project from the log; the limit within keeps the planner to the index."""


class HistoryFilters(Struct, frozen=True, kw_only=True):
    """Which facts of a project to read; what is None does not filter."""

    topics: tuple[str, ...] | None = None
    stream_id: UUID | None = None
    actor_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING: Final = HistoryFilters()


class HistoryView:
    """The history of every project; each call sees one project of one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models, and from the log beside them."""
        self._models = models

    async def page(
        self, workspace_id: UUID, project_id: UUID, *, after: int, limit: int, only: HistoryFilters = EVERYTHING
    ) -> Page:
        """Give matching facts after a position, oldest first; the page says how far it looked.

        A page with no facts and `through` past `after` means "go on from there". Raises Unavailable.
        """
        of = {"project": project_id, "workspace": workspace_id, "after": after}
        (found,) = await self._models.rows(STRETCH, {**of, "looked_at": LOOKED_AT})
        through = max(after, found[0])
        if through == after:
            return Page(events=(), through=after)
        rows = await self._models.rows(
            READ,
            {
                **of,
                "through": through,
                "topics": None if only.topics is None else list(only.topics),
                "stream": only.stream_id,
                "actor": only.actor_id,
                "since": only.since,
                "until": only.until,
                "limit": limit,
            },
        )
        events = tuple(recorded_or_unreadable(row) for row in rows)
        return Page(events=events, through=events[-1].position if len(events) == limit else through)
