"""Reading runs: one by id, a project's or a workflow's in pages."""

from typing import Final, LiteralString
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.runs.run import Run, RunStatus
from projections.runtime.paging import LEAST, MOST, Cursor, Listing, Sort, listing
from projections.runtime.paging import view as view_of
from projections.runtime.read_pool import ReadModels

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one run of a workspace."""

PROJECT_NEWEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and created_position < %(after)b
 order by created_position desc
 limit %(limit)b
"""
"""Read a page of a project's runs, those started last first."""

PROJECT_OLDEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and created_position > %(after)b
 order by created_position
 limit %(limit)b
"""
"""Read a page of a project's runs, those started first first."""

WORKFLOW_NEWEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and created_position < %(after)b
 order by created_position desc
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those started last first."""

WORKFLOW_OLDEST: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and created_position > %(after)b
 order by created_position
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those started first first."""

PROJECT_LATEST_CHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and position < %(after)b
 order by position desc
 limit %(limit)b
"""
"""Read a page of a project's runs, those changed last first."""

PROJECT_LONGEST_UNCHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where project_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and position > %(after)b
 order by position
 limit %(limit)b
"""
"""Read a page of a project's runs, those changed longest ago first."""

WORKFLOW_LATEST_CHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and position < %(after)b
 order by position desc
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those changed last first."""

WORKFLOW_LONGEST_UNCHANGED: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where workflow_id = %(scope)b
   and workspace_id = %(workspace)b
   and (%(status)b::text is null or status = %(status)b)
   and position > %(after)b
 order by position
 limit %(limit)b
"""
"""Read a page of a workflow's runs, those changed longest ago first."""

OF_PROJECT: Final[dict[Sort, LiteralString]] = {
    Sort.NEWEST: PROJECT_NEWEST,
    Sort.OLDEST: PROJECT_OLDEST,
    Sort.LATEST_CHANGED: PROJECT_LATEST_CHANGED,
    Sort.LONGEST_UNCHANGED: PROJECT_LONGEST_UNCHANGED,
}
OF_WORKFLOW: Final[dict[Sort, LiteralString]] = {
    Sort.NEWEST: WORKFLOW_NEWEST,
    Sort.OLDEST: WORKFLOW_OLDEST,
    Sort.LATEST_CHANGED: WORKFLOW_LATEST_CHANGED,
    Sort.LONGEST_UNCHANGED: WORKFLOW_LONGEST_UNCHANGED,
}

CHECKPOINT: Final = "select coalesce((select position from checkpoints where projection = 'runs'), 0)"
"""Read how far the runs have been folded."""

_decoder: Final = Decoder(Run)


class RunFilters(Struct, frozen=True, kw_only=True):
    """Which runs to list: those of a project, or of a workflow where one is named."""

    project_id: UUID | None = None
    workflow_id: UUID | None = None
    status: RunStatus | None = None


class RunsView:
    """The runs of every workspace; each call but `position` sees one workspace only."""

    SORTS: Final = tuple(Sort)

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def get(self, workspace_id: UUID, run_id: UUID) -> Folded[Run] | None:
        """Give one run. Raises Unavailable."""
        row = await self._models.first(GET, {"id": run_id, "workspace": workspace_id})
        return None if row is None else view_of(row, _decoder)

    async def list(
        self,
        workspace_id: UUID,
        *,
        filters: RunFilters,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[Run]]:
        """Give a page. Raises Unavailable; ValueError for a cursor of another order."""
        if cursor is not None and cursor.sort is not sort:
            message = f"the cursor belongs to the order {cursor.sort.value}, not {sort.value}"
            raise ValueError(message)
        first = MOST if sort.descending else LEAST
        rows = await self._models.rows(
            OF_PROJECT[sort] if filters.workflow_id is None else OF_WORKFLOW[sort],
            {
                "workspace": workspace_id,
                "scope": filters.project_id if filters.workflow_id is None else filters.workflow_id,
                "status": None if filters.status is None else filters.status.value,
                "after": first if cursor is None else cursor.after,
                "limit": limit + 1,
            },
        )
        return listing([view_of(row, _decoder) for row in rows], limit, sort)

    async def position(self) -> int:
        """Give the position up to which the runs have been folded. Raises Unavailable."""
        row = await self._models.first(CHECKPOINT, {})
        return 0 if row is None else row[0]
