"""Reading a workspace table in pages."""

from enum import StrEnum
from typing import Final, Generic, LiteralString
from uuid import UUID

from msgspec.json import Decoder

from domain.folded import Folded
from projections.runtime.paging import Cursor, Listing, Sort, listing, rank_after, view
from projections.runtime.read_pool import ReadModels
from projections.workspace_tables.table import S, WorkspaceTable

LIST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from {table}
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
"""Read a page of a workspace's rows; they are few enough to sort as they are read."""


class WorkspaceView(Generic[S]):
    """The rows of every workspace in one table; each call sees one workspace only."""

    def __init__(self, table: WorkspaceTable[S], models: ReadModels) -> None:
        """Read a table from these read models."""
        self._models = models
        self._list: LiteralString = LIST.format(table=table.name)
        self._decoder = Decoder(table.state)

    async def list(
        self,
        workspace_id: UUID,
        *,
        status: StrEnum | None,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[S]]:
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        rows = await self._models.rows(
            self._list,
            {
                "workspace": workspace_id,
                "status": None if status is None else status.value,
                "sort": sort.value,
                "after": rank_after(cursor, sort),
                "limit": limit + 1,
            },
        )
        return listing([view(row, self._decoder) for row in rows], limit, sort)
