"""Reading announcements: a workspace's in pages."""

from typing import Final
from uuid import UUID

from msgspec.json import Decoder

from domain.announcement import Announcement, AnnouncementStatus
from domain.folded import Folded
from projections.runtime.paging import Cursor, Listing, Sort, listing, rank_after, view
from projections.runtime.read_pool import ReadModels

LIST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from announcements
 cross join lateral (select case %(sort)b::text
                            when 'created_at' then created_position
                            when '-created_at' then -created_position
                            when 'updated_at' then position
                            else -position end) as sorted (rank)
 where workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and rank > %(after)b
 order by rank
 limit %(limit)b
"""
"""Read a page of a workspace's announcements; they are few enough to sort as they are read."""

_decoder: Final = Decoder(Announcement)


class AnnouncementsView:
    """The announcements of every workspace; each call sees one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def list(
        self,
        workspace_id: UUID,
        *,
        status: AnnouncementStatus | None,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[Announcement]]:
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        rows = await self._models.rows(
            LIST,
            {
                "workspace": workspace_id,
                "status": None if status is None else status.value,
                "sort": sort.value,
                "after": rank_after(cursor, sort),
                "limit": limit + 1,
            },
        )
        return listing([view(row, _decoder) for row in rows], limit, sort)
