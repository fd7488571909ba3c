"""Reading the history of a project: its facts in order, with filters; rows name positions, the log has the facts."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from projections.runtime.read_pool import ReadModels
from store.log.readers import read_at_positions
from store.log.records import Page

SEARCHED_MAX: Final = 10_000
"""Facts of a project that one read searches at most, so that a rare filter cannot hold a connection."""

POSITIONS: Final = """
select searched.through,
       array(select position
               from history
              where project_id = %(project)b and workspace_id = %(workspace)b
                and position > %(after)b and position <= searched.through
                and (%(topics)b::text[] is null or topic = any (%(topics)b))
                and (%(stream)b::uuid is null or stream_id = %(stream)b)
                and (%(actor)b::text is null or actor_id = %(actor)b)
                and (%(since)b::timestamptz is null or recorded_at >= %(since)b)
                and (%(until)b::timestamptz is null or recorded_at < %(until)b)
              order by position
              limit %(limit)b)
  from (select coalesce(max(position), 0) as through
          from (select position
                  from history
                 where project_id = %(project)b and workspace_id = %(workspace)b and position > %(after)b
                 order by position
                 limit %(searched_max)b) as stretch) as searched
"""
"""Read the last position that is searched, and the positions of matching facts of a project up to it."""


COVERED: Final = """
select case
         when exists (select from parked where projection = 'history' and workspace_id = %(workspace)b)
           or exists (select from skipped where projection = 'history' and workspace_id = %(workspace)b)
         then 0
         else (select position from checkpoints where projection = 'history')
       end
"""
"""Read the checkpoint of the history; 0 for a workspace of which it leaves anything out."""


class HistoryFilters(Struct, frozen=True, kw_only=True):
    """Filters of a project's history; None does not filter."""

    topics: tuple[str, ...] | None = None
    stream_id: UUID | None = None
    actor_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING: Final = HistoryFilters()


class HistoryView:
    """The history of every project; each call sees one project of one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models and the log, which are in one database."""
        self._models = models

    async def find_covered(self, workspace_id: UUID) -> int:
        """Return the position up to which the history has every fact of a workspace. Raises Unavailable."""
        row = await self._models.first(COVERED, {"workspace": workspace_id})
        return 0 if row is None or row[0] is None else row[0]

    async def page(
        self, workspace_id: UUID, project_id: UUID, *, after: int, limit: int, only: HistoryFilters = EVERYTHING
    ) -> Page:
        """Return matching facts after a position, oldest first, and the last position that was searched.

        A page without facts whose `through` is past `after` is not the end: read on from `through`. Raises Unavailable.
        """
        parameters = {
            "project": project_id,
            "workspace": workspace_id,
            "after": after,
            "searched_max": SEARCHED_MAX,
            "topics": None if only.topics is None else list(only.topics),
            "stream": only.stream_id,
            "actor": only.actor_id,
            "since": only.since,
            "until": only.until,
            "limit": limit,
        }
        ((through, positions),) = await self._models.rows(POSITIONS, parameters)
        if not positions:
            return Page(events=(), through=max(after, through))
        async with self._models.connection() as connection:
            events = await read_at_positions(connection, positions)
        return Page(events=tuple(events), through=positions[-1] if len(positions) == limit else through)
