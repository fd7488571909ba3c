"""Reading tasks: the inbox of a user, in pages."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, LiteralString
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.runs.facts import StepWaiting
from projections.read_models.projects_view import is_in_few_teams
from projections.runtime.paging import LEAST, MOST, Cursor, Listing, Sort, find_start, listing
from projections.runtime.read_pool import ReadModels

SELECT: Final = """
select tasks.run_id, tasks.workspace_id, tasks.project_id, tasks.version, tasks.position, tasks.created_at,
       runs.workflow_id, tasks.document::text, coalesce(runs.document ->> 'name', ''), workflows.name, its.name
  from tasks
  join runs on runs.id = tasks.run_id
  join projects as its on its.id = tasks.project_id
  left join workflows on workflows.id = runs.workflow_id
  left join project_members as mine
    on mine.workspace_id = %(workspace)b and mine.user_id = %(user)b::text and mine.project_id = tasks.project_id
 where tasks.workspace_id = %(workspace)b
   and {scope}
   and case when %(all)b::boolean then %(everything)b::boolean or mine.role is not null
            else mine.role in ('reviewer', 'editor', 'owner')
                 and tasks.found_by && array['user:' || %(user)b::text, 'role:' || tasks.project_id || ':' || mine.role]
       end
   and (%(bound)b::uuid[] is null or tasks.project_id = any (%(bound)b::uuid[]))
   and (%(project)b::uuid is null or tasks.project_id = %(project)b)
   and (%(workflow)b::uuid is null or runs.workflow_id = %(workflow)b)
   and (%(run)b::uuid is null or tasks.run_id = %(run)b)
   and (%(node)b::text is null or tasks.node = %(node)b)
   and tasks.position {beyond} %(after)b
   and tasks.position {before} %(boundary)b
 order by tasks.position {order}
 limit %(limit)b
"""
"""Read a page of what waits for a user, by name or by role, and that the role permits to decide; or all they see.

`everything` is true for readers who see the whole workspace; `bound` are the only projects that they read.
"""

IN_ORDER: Final = "true"
"""Search the tasks of the workspace in their order: for readers in many teams, to whom many of them belong."""

BY_NAME: Final = """tasks.found_by && array(
         select case when %(all)b then 'project:' || m.project_id else 'role:' || m.project_id || ':' || m.role end
           from project_members as m
          where m.workspace_id = %(workspace)b and m.user_id = %(user)b::text
          union all
         select 'user:' || %(user)b::text)"""
"""Find the tasks by whose they are: for readers in few teams."""

BOUNDARY: Final = """
select position
  from tasks
 where workspace_id = %(workspace)b
   and (%(project)b::uuid is null or project_id = %(project)b)
   and position {beyond} %(after)b
 order by position {order}
offset %(searched)b
 limit 1
"""
"""Read the position of the task at which a search stops."""

DESCENDING: Final[Mapping[str, LiteralString]] = {"beyond": "<", "before": ">", "order": "desc"}
ASCENDING: Final[Mapping[str, LiteralString]] = {"beyond": ">", "before": "<", "order": "asc"}
SEARCHED_MAX: Final = 500
"""How many tasks are searched for one page: each is joined with its run and its project."""

_decoder: Final = Decoder(StepWaiting)


class Assigned(StrEnum):
    """Filter by assignee: the user's own tasks, or also those of others in the projects whose team the user is in."""

    ME = "me"
    ALL = "all"


class Task(Struct, frozen=True, kw_only=True):
    """A human step that waits: its workflow, its assignees and what they decide.

    A name is None where the read model that has it lags behind.
    """

    workflow_id: UUID
    waiting: StepWaiting
    run_name: str = ""
    workflow_name: str | None = None
    project_name: str | None = None


class TaskFilters(Struct, frozen=True, kw_only=True):
    """Filters of a list of tasks; None does not filter."""

    project_id: UUID | None = None
    workflow_id: UUID | None = None
    run_id: UUID | None = None
    node: str | None = None


class TaskReader(Struct, frozen=True, kw_only=True):
    """Reader of tasks; `project_ids` are the only projects that they read, None for all that they may see."""

    user_id: str
    sees_workspace: bool = False
    project_ids: Collection[UUID] | None = None


class TasksView:
    """The tasks of every workspace; each call sees one user's of one workspace only.

    It also reads the read models of runs and projects, which may lag separately.
    """

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def inbox(
        self,
        workspace_id: UUID,
        reader: TaskReader,
        *,
        assigned: Assigned = Assigned.ME,
        filters: TaskFilters = TaskFilters(),  # noqa: B008  # frozen
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[Task]]:
        """Return a page; views are of the run. Raises Unavailable; ValueError for a cursor of another order."""
        parameters = {
            "workspace": workspace_id,
            "user": reader.user_id,
            "member": reader.user_id,
            "all": assigned is Assigned.ALL,
            "everything": reader.sees_workspace,
            "bound": None if reader.project_ids is None else list(reader.project_ids),
            "project": filters.project_id,
            "workflow": filters.workflow_id,
            "run": filters.run_id,
            "node": filters.node,
            "after": find_start(cursor, sort),
            "boundary": LEAST if sort.descending else MOST,
            "limit": limit + 1,
        }
        words = DESCENDING if sort.descending else ASCENDING
        sees_all = parameters["all"] and reader.sees_workspace
        if filters.run_id is not None or (not sees_all and await is_in_few_teams(self._models, parameters)):
            scope = IN_ORDER if filters.run_id is not None else BY_NAME
            rows = await self._models.rows(SELECT.format(scope=scope, **words), parameters)
            return listing([_view(row) for row in rows], limit, sort)
        return await self._search(parameters, words, limit, sort)

    async def _search(
        self, parameters: dict[str, Any], words: Mapping[str, LiteralString], limit: int, sort: Sort
    ) -> Listing[Folded[Task]]:
        """Return a page of the tasks of the workspace in their order, of which a bounded number is searched."""
        boundary = await self._models.first(BOUNDARY.format(**words), {**parameters, "searched": SEARCHED_MAX})
        if boundary is not None:
            parameters["boundary"] = boundary[0]
        found = await self._models.rows(SELECT.format(scope=IN_ORDER, **words), parameters)
        page = listing([_view(row) for row in found], limit, sort)
        if page.next is None and boundary is not None:  # the task at the boundary was not searched
            return Listing(items=page.items, next=Cursor(sort, boundary[0] + (1 if sort.descending else -1)))
        return page


def _view(row: tuple[Any, ...]) -> Folded[Task]:
    run, workspace, project, version, position, created_at, workflow, document, *names = row
    run_name, workflow_name, project_name = names
    return Folded(
        stream_id=run,
        workspace_id=workspace,
        project_id=project,
        version=version,
        position=position,
        created_position=position,
        created_at=created_at,
        updated_at=created_at,
        state=Task(
            workflow_id=workflow,
            waiting=_decoder.decode(document),
            run_name=run_name,
            workflow_name=workflow_name,
            project_name=project_name,
        ),
    )
