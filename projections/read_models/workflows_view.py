"""Reading workflows: one by id, a project's in pages, and the versions of one."""

from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.graphs.graph import Graph
from domain.workflow import Workflow, WorkflowStatus
from projections.lists.ordered_list import COLUMNS, OrderedList, read_page
from projections.runtime.paging import MOST, Cursor, Listing, Sort, Version, Versions
from projections.runtime.paging import version as version_of
from projections.runtime.paging import versions as versions_of
from projections.runtime.read_pool import ReadModels, Row

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text,
       last_run_id
  from workflows
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one workflow of a workspace."""

LIST: Final = OrderedList(
    table="workflows",
    scope="project_id = %(project)b",
    filters="""workspace_id = %(workspace)b
                   and (%(status)b::text is null or status = %(status)b)
                   and (%(name)b::text is null or name = %(name)b)""",
    columns=f"{COLUMNS}, last_run_id",
)
"""The workflows of a project."""

VERSION: Final = """
select number, position, created_at, document::text
  from workflow_versions
 where workflow_id = %(id)b and workspace_id = %(workspace)b and number = %(number)b
"""
"""Read one version of a workflow's graph."""

VERSIONS: Final = """
select number, position, created_at, document::text
  from workflow_versions
 where workflow_id = %(id)b and workspace_id = %(workspace)b and number < %(before)b
 order by number desc
 limit %(limit)b
"""
"""Read a page of the versions of a workflow's graph, newest first."""

VERSION_NUMBERS: Final = """
select number, position, created_at, 'null'
  from workflow_versions
 where workflow_id = %(id)b and workspace_id = %(workspace)b and number < %(before)b
 order by number desc
 limit %(limit)b
"""
"""Read a page of the versions, newest first, without their documents, which can be large."""

_nothing_decoder: Final = Decoder(None)
_workflow_decoder: Final = Decoder(Workflow)
_graph_decoder: Final = Decoder(Graph)


class WorkflowItem(Folded[Workflow], frozen=True, kw_only=True):
    """A workflow, with the run that was started last; that one is not part of its version."""

    last_run_id: UUID | None


class WorkflowFilters(Struct, frozen=True, kw_only=True):
    """Filters of a list of workflows; None does not filter."""

    project_id: UUID
    status: WorkflowStatus | None = None
    name: str | None = None


class WorkflowsView:
    """The workflows of every workspace; each call sees one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def get(self, workspace_id: UUID, workflow_id: UUID) -> WorkflowItem | None:
        """Return one workflow. Raises Unavailable."""
        row = await self._models.first(GET, {"id": workflow_id, "workspace": workspace_id})
        return None if row is None else _item(row)

    async def list(
        self,
        workspace_id: UUID,
        *,
        filters: WorkflowFilters,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[WorkflowItem]:
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        page = await read_page(
            self._models,
            LIST,
            {
                "workspace": workspace_id,
                "project": filters.project_id,
                "status": None if filters.status is None else filters.status.value,
                "name": filters.name,
            },
            limit=limit,
            sort=sort,
            cursor=cursor,
            is_searched=filters.status is not None or filters.name is not None,
        )
        return Listing(items=tuple(_item(row) for row in page.rows), next=page.next)

    async def version(self, workspace_id: UUID, workflow_id: UUID, number: int) -> Version[Graph] | None:
        """Return one version of the graph. Raises Unavailable."""
        row = await self._models.first(VERSION, {"id": workflow_id, "workspace": workspace_id, "number": number})
        return None if row is None else version_of(row, _graph_decoder)

    async def list_versions(
        self, workspace_id: UUID, workflow_id: UUID, *, limit: int, before: int | None = None
    ) -> Versions[None]:
        """Return a page of the versions without their graphs, newest first. Raises Unavailable."""
        number = MOST if before is None else before
        rows = await self._models.rows(
            VERSION_NUMBERS, {"id": workflow_id, "workspace": workspace_id, "before": number, "limit": limit + 1}
        )
        return versions_of(rows, limit, _nothing_decoder)

    async def versions(
        self, workspace_id: UUID, workflow_id: UUID, *, limit: int, before: int | None = None
    ) -> Versions[Graph]:
        """Return a page of the versions of the graph, newest first. Raises Unavailable."""
        number = MOST if before is None else before
        rows = await self._models.rows(
            VERSIONS, {"id": workflow_id, "workspace": workspace_id, "before": number, "limit": limit + 1}
        )
        return versions_of(rows, limit, _graph_decoder)


def _item(row: Row) -> WorkflowItem:
    stream, workspace, project, version, position, created_position, created_at, updated_at, document, last_run = row
    return WorkflowItem(
        stream_id=stream,
        workspace_id=workspace,
        project_id=project,
        version=version,
        position=position,
        created_position=created_position,
        created_at=created_at,
        updated_at=updated_at,
        state=_workflow_decoder.decode(document),
        last_run_id=last_run,
    )
