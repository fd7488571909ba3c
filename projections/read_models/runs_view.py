"""Reading runs: one by id, a project's or a workflow's in pages."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded
from domain.runs.run import Run, RunStatus
from projections.lists.ordered_list import OrderedList, read_page
from projections.read_models.run_list_statements import (
    OF_PARENT,
    OF_PROJECT,
    OF_PROJECT_BY_STATUS,
    OF_WORKFLOW,
    OF_WORKFLOW_BY_STATUS,
)
from projections.runtime.paging import LEAST, MOST, Cursor, Listing, Sort
from projections.runtime.paging import view as view_of
from projections.runtime.read_pool import ReadModels

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from runs
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one run of a workspace."""

# The engine keeps the view `leased_runs`; its run ids are evaluated once a statement.

UNLEASED_UNDER_WAY: Final = """
select r.id, r.workspace_id
  from runs r
 where r.status in ('queued', 'running')
   and r.workspace_id <> all(%(skipped)b::uuid[])
   and r.updated_at < now() - make_interval(secs => %(grace)b)
   and not exists (select from leased_runs l where l.run_id = r.id)
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the queued and running runs that no live engine has leased."""

UNLEASED_PARENTS: Final = """
select r.id, r.workspace_id
  from runs r
 where r.status = 'waiting'
   and r.waits_for_children
   and r.workspace_id <> all(%(skipped)b::uuid[])
   and not exists (select from leased_runs l where l.run_id = r.id)
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the runs that wait for children and that no live engine has leased."""

UNLEASED_CANCELLED: Final = """
select r.id, r.workspace_id
  from runs r
 where r.status in ('queued', 'running', 'waiting')
   and r.cancel_requested
   and not exists (select from leased_runs l where l.run_id = r.id)
   and r.id > %(after)b
 order by r.id
 limit %(limit)b
"""
"""Read a page of the unfinished runs with a pending cancellation that no live engine has leased."""

CHECKPOINT: Final = "select coalesce((select position from checkpoints where projection = 'runs'), 0)"
"""Read how far the runs have been folded."""

_decoder: Final = Decoder(Run)


NO_LABELS: Final[Mapping[str, str]] = {}


class RunFilters(Struct, frozen=True, kw_only=True):
    """Filters of a list of runs: those of a project, or of one workflow.

    Without a `parent_id` these are the runs that callers started, and with one the children of that run. Of a project
    those of one workflow can be listed (`of_workflow_id`). Those started after one position and up to another are
    listed.
    """

    project_id: UUID | None = None
    workflow_id: UUID | None = None
    status: RunStatus | None = None
    parent_id: UUID | None = None
    of_workflow_id: UUID | None = None
    labels: Mapping[str, str] = NO_LABELS
    created_after: int = 0
    created_through: int = MOST


def _select_list(filters: RunFilters) -> OrderedList:
    if filters.parent_id is not None:
        return OF_PARENT
    has_status_index = filters.status not in {None, RunStatus.COMPLETED}
    if filters.workflow_id is None:
        return OF_PROJECT_BY_STATUS if has_status_index else OF_PROJECT
    return OF_WORKFLOW_BY_STATUS if has_status_index else OF_WORKFLOW


def _is_searched(filters: RunFilters, sort: Sort) -> bool:
    """Return whether a filter has no index of its own."""
    is_by_change = sort in {Sort.LATEST_CHANGED, Sort.LONGEST_UNCHANGED}
    has_times = filters.created_after > 0 or filters.created_through < MOST
    has_status_index = filters.parent_id is None and filters.status is not RunStatus.COMPLETED
    return (
        bool(filters.labels)
        or filters.of_workflow_id is not None
        or (filters.status is not None and not has_status_index)
        or (has_times and is_by_change)
    )


def _find_ranks(filters: RunFilters, sort: Sort) -> tuple[int, int]:
    """Return the ranks between which runs started between two positions are; none changed before it started."""
    is_by_change = sort in {Sort.LATEST_CHANGED, Sort.LONGEST_UNCHANGED}
    through = MOST if is_by_change else min(MOST - 1, filters.created_through) + 1
    return (filters.created_after or LEAST, through)


class UnleasedRun(NamedTuple):
    """An unfinished run that no live engine has leased."""

    run_id: UUID
    workspace_id: UUID


class RunsView:
    """The runs of every workspace. `get` and `list` see one workspace only; the rest is for the engine."""

    SORTS: Final = tuple(Sort)

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def get(self, workspace_id: UUID, run_id: UUID) -> Folded[Run] | None:
        """Return one run. Raises Unavailable."""
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
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        page = await read_page(
            self._models,
            _select_list(filters),
            {
                "workspace": workspace_id,
                "scope": filters.project_id if filters.workflow_id is None else filters.workflow_id,
                "status": None if filters.status is None else filters.status.value,
                "parent": filters.parent_id,
                "of_workflow": filters.of_workflow_id,
                "labels": msgspec.json.encode(filters.labels).decode(),
                "created_after": filters.created_after,
                "created_through": filters.created_through,
            },
            limit=limit,
            sort=sort,
            cursor=cursor,
            is_searched=_is_searched(filters, sort),
            ranks=_find_ranks(filters, sort),
        )
        return Listing(items=tuple(view_of(row, _decoder) for row in page.rows), next=page.next)

    async def list_unleased_under_way(
        self, *, grace_seconds: float, skipped_workspaces: Sequence[UUID], after: UUID, limit: int
    ) -> Sequence[UnleasedRun]:
        """Return a page of the queued and running runs that no live engine has leased. Raises Unavailable.

        Runs that changed within `grace_seconds` are left out, and those of `skipped_workspaces`.
        """
        parameters = {"grace": grace_seconds, "skipped": [*skipped_workspaces], "after": after, "limit": limit}
        return [UnleasedRun(*row) for row in await self._models.rows(UNLEASED_UNDER_WAY, parameters)]

    async def list_unleased_parents(
        self, *, skipped_workspaces: Sequence[UUID], after: UUID, limit: int
    ) -> Sequence[UnleasedRun]:
        """Return a page of the runs that wait for children and that no live engine has leased. Raises Unavailable.

        A child may have ended with an engine that is gone, without a notification of its parent.
        """
        parameters = {"skipped": [*skipped_workspaces], "after": after, "limit": limit}
        return [UnleasedRun(*row) for row in await self._models.rows(UNLEASED_PARENTS, parameters)]

    async def list_unleased_cancelled(self, *, after: UUID, limit: int) -> Sequence[UnleasedRun]:
        """Return a page of the runs with a pending cancellation that no live engine has leased. Raises Unavailable."""
        rows = await self._models.rows(UNLEASED_CANCELLED, {"after": after, "limit": limit})
        return [UnleasedRun(*row) for row in rows]

    async def position(self) -> int:
        """Return the position up to which the runs have been folded. Raises Unavailable."""
        row = await self._models.first(CHECKPOINT, {})
        return 0 if row is None else row[0]
