"""Reading tasks: the inbox of a user, in pages."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.runs.facts import StepWaiting
from projections.runtime.paging import Cursor, Listing, Sort, listing, rank_after
from projections.runtime.read_pool import ReadModels

INBOX: Final = """
select tasks.run_id, tasks.workspace_id, tasks.project_id, tasks.version, tasks.position, tasks.created_at,
       runs.workflow_id, tasks.document::text, coalesce(runs.document ->> 'name', ''), workflows.name, its.name
  from tasks
  join runs on runs.id = tasks.run_id
  join projects as its on its.id = tasks.project_id
  left join workflows on workflows.id = runs.workflow_id
 cross join lateral (select case when %(descending)b::boolean then -tasks.position else tasks.position end)
       as sorted (rank)
 where tasks.found_by && (
         select array_agg(mine.name)
           from (select 'user:' || %(user)b::text
                  union all
                 select case when %(all)b::boolean then 'project:' || projects.id
                             else 'role:' || projects.id || ':' || (projects.document -> 'team' ->> %(user)b::text) end
                   from projects
                  where projects.workspace_id = %(workspace)b
                    and (%(user)b::text = any (projects.members) or (%(all)b and %(everything)b::boolean))
                ) as mine (name))
   and tasks.workspace_id = %(workspace)b
   and case when %(all)b then %(everything)b or %(user)b = any (its.members)
            else its.document -> 'team' ->> %(user)b in ('reviewer', 'editor', 'owner') end
   and (%(bound)b::uuid[] is null or tasks.project_id = any (%(bound)b::uuid[]))
   and (%(project)b::uuid is null or tasks.project_id = %(project)b)
   and (%(workflow)b::uuid is null or runs.workflow_id = %(workflow)b)
   and (%(run)b::uuid is null or tasks.run_id = %(run)b)
   and (%(node)b::text is null or tasks.node = %(node)b)
   and sorted.rank > %(after)b
 order by sorted.rank
 limit %(limit)b
"""
"""Read a page of what waits for a user, by name or by role, and that the role permits to decide; or all they see.

`everything` is true for readers who see the whole workspace; `bound` are the only projects that they read.
"""

_decoder: Final = Decoder(StepWaiting)


class Assigned(StrEnum):
    """Filter by assignee: the user's own tasks, or also those of others in the projects whose team the user is in."""

    ME = "me"
    ALL = "all"


class Task(Struct, frozen=True, kw_only=True):
    """A human step that waits: the workflow that its run is of, and what is asked of whom.

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

    It reads beside `tasks` the read models of runs and of projects, each as far as it has come.
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
        rows = await self._models.rows(
            INBOX,
            {
                "workspace": workspace_id,
                "user": reader.user_id,
                "all": assigned is Assigned.ALL,
                "everything": reader.sees_workspace,
                "bound": None if reader.project_ids is None else list(reader.project_ids),
                "project": filters.project_id,
                "workflow": filters.workflow_id,
                "run": filters.run_id,
                "node": filters.node,
                "descending": sort.descending,
                "after": rank_after(cursor, sort),
                "limit": limit + 1,
            },
        )
        return listing([_view(row) for row in rows], limit, sort)


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
