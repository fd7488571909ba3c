"""Reading projects: one by id, or a workspace's in pages."""

from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.project import Project, ProjectStatus
from projections.runtime.paging import Cursor, Listing, Sort, listing, rank_after, view
from projections.runtime.read_pool import ReadModels

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from projects
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one project of a workspace."""

LIST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from projects
 cross join lateral (select case %(sort)b::text
                            when 'created_at' then created_position
                            when '-created_at' then -created_position
                            when 'updated_at' then position
                            else -position end) as sorted (rank)
 where workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and (%(name)b::text is null or name = %(name)b)
   and (%(member)b::text is null or %(member)b = any (members))
   and (%(ids)b::uuid[] is null or id = any (%(ids)b::uuid[]))
   and rank > %(after)b
 order by rank
 limit %(limit)b
"""
"""Read a page of a workspace's projects; they are few enough to sort as they are read."""

_decoder: Final = Decoder(Project)


class ProjectFilters(Struct, frozen=True, kw_only=True):
    """Filters of a list of projects; None does not filter. `member` is a user in the team, `ids` are some projects."""

    member: str | None = None
    ids: tuple[UUID, ...] | None = None
    status: ProjectStatus | None = None
    name: str | None = None


class ProjectsView:
    """The projects of every workspace; each call sees one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def get(self, workspace_id: UUID, project_id: UUID) -> Folded[Project] | None:
        """Return one project. Raises Unavailable."""
        row = await self._models.first(GET, {"id": project_id, "workspace": workspace_id})
        return None if row is None else view(row, _decoder)

    async def list(
        self,
        workspace_id: UUID,
        *,
        filters: ProjectFilters,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[Project]]:
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        rows = await self._models.rows(
            LIST,
            {
                "workspace": workspace_id,
                "status": None if filters.status is None else filters.status.value,
                "name": filters.name,
                "member": filters.member,
                "ids": None if filters.ids is None else list(filters.ids),
                "sort": sort.value,
                "after": rank_after(cursor, sort),
                "limit": limit + 1,
            },
        )
        return listing([view(row, _decoder) for row in rows], limit, sort)
