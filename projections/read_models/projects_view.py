"""Reading projects: one by id, or a workspace's in pages."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.project import Project, ProjectStatus
from projections.lists.ordered_list import OrderedList, read_page
from projections.runtime.paging import Cursor, Listing, Sort, view
from projections.runtime.read_pool import ReadModels

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from projects
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one project of a workspace."""

# With `exists` the planner reads every team of the member first: 260 ms at 100,000. The limit keeps it from that.
FILTERS: Final = """workspace_id = %(workspace)b
                   and (%(status)b::text is null or status = %(status)b)
                   and (%(name)b::text is null or name = %(name)b)
                   and (%(ids)b::uuid[] is null or id = any (%(ids)b::uuid[]))
                   and (%(member)b::text is null or (
                           select true
                             from project_members
                            where project_members.workspace_id = projects.workspace_id
                              and project_members.user_id = %(member)b
                              and project_members.project_id = projects.id
                            limit 1))"""

LIST: Final = OrderedList(table="projects", scope="workspace_id = %(workspace)b", filters=FILTERS)
"""The projects of a workspace."""

OF_MEMBER: Final = OrderedList(
    table="""(select p.*
                          from project_members as m
                          join projects as p on p.id = m.project_id
                         where m.workspace_id = %(workspace)b and m.user_id = %(member)b) as projects""",
    scope="true",
    filters=FILTERS,
)
"""The projects of somebody who is in few teams."""

WITH_IDS: Final = OrderedList(
    table="(select * from projects where id = any (%(ids)b::uuid[])) as projects", scope="true", filters=FILTERS
)
"""Some projects, by their ids."""

COUNT_TEAMS: Final = """
select count(*)
  from (select
          from project_members
         where workspace_id = %(workspace)b and user_id = %(member)b
         limit %(limit)b) as teams
"""
"""Count the teams that somebody is in, up to a limit."""

FEW_TEAMS: Final = 500
"""In more teams than this, the projects of the workspace are searched in their order instead of sorted."""

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
        parameters = {
            "workspace": workspace_id,
            "status": None if filters.status is None else filters.status.value,
            "name": filters.name,
            "member": filters.member,
            "ids": None if filters.ids is None else list(filters.ids),
        }
        listed = await self._select_list(parameters)
        page = await read_page(
            self._models,
            listed,
            parameters,
            limit=limit,
            sort=sort,
            cursor=cursor,
            is_searched=listed is LIST and any(parameters[name] is not None for name in ("status", "name", "member")),
        )
        return Listing(items=tuple(view(row, _decoder) for row in page.rows), next=page.next)

    async def _select_list(self, parameters: Mapping[str, Any]) -> OrderedList:
        if parameters["ids"] is not None:
            return WITH_IDS
        if parameters["member"] is None:
            return LIST
        return OF_MEMBER if await is_in_few_teams(self._models, parameters) else LIST


async def is_in_few_teams(models: ReadModels, parameters: Mapping[str, Any]) -> bool:
    """Return whether a `member` is in so few teams of a `workspace` that all of them can be looked at."""
    row = await models.first(COUNT_TEAMS, {**parameters, "limit": FEW_TEAMS + 1})
    return row is None or row[0] <= FEW_TEAMS
