"""Reading insights: the figures of a project over a window, summed from its buckets in one query."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.json import Decoder

from domain.refusal import Refusal, RefusalKind
from domain.workflow import Workflow
from projections.insights.buckets import DAY, HOUR, Kind
from projections.insights.figures import Bucket, Figures, Window
from projections.insights.measures import Measures
from projections.insights.recommendations.recommendation import RuleInput
from projections.runtime.read_pool import ReadModels

READ: Final = """
select s.past, b.starts_at, b.kind, b.workflow_id, b.workflow_version, b.node, b.model, b.asset_version, b.asset_id,
       b.measures::text
  from unnest(%(pasts)b::boolean[], %(grains)b::int[], %(starts)b::timestamptz[], %(ends)b::timestamptz[])
       as s (past, grain, starts_at, ends_at)
 cross join lateral (
       select *
         from insight_buckets
        where project_id = %(project)b and workspace_id = %(workspace)b
          and grain = s.grain and starts_at >= s.starts_at and starts_at < s.ends_at
          and (%(workflow)b::uuid is null or workflow_id = %(workflow)b)
        limit %(limit)b) as b
 limit %(limit)b
"""
"""Read the buckets of some periods, each of one grain; the inner limit makes the planner use the index."""

WAITING: Final = """
select workflow_id, count(*)
  from runs
 where project_id = %(project)b and workspace_id = %(workspace)b and status = 'waiting'
   and (%(workflow)b::uuid is null or workflow_id = %(workflow)b)
 group by workflow_id
"""
"""Count the runs that are waiting now."""

GRAPHS: Final = """
select id, document::text
  from workflows
 where project_id = %(project)b and workspace_id = %(workspace)b and id = any (%(ids)b::uuid[])
"""
"""Read workflows with their newest graphs."""

GRAPHS_MAX: Final = 100
"""Maximum number of graphs that are read: those of the workflows with the most runs."""

BUCKETS_PER_TURN: Final = 500
"""Buckets that are summed between two yields to the event loop: some milliseconds of work."""

_decoder: Final = Decoder(Measures)
_workflow_decoder: Final = Decoder(Workflow)
Period = tuple[bool, int, datetime, datetime]


class WindowTooLarge(Refusal):
    """The window has too much data for one request. Use a shorter window, or filter by one workflow."""

    code = "window_too_large"
    kind = RefusalKind.UNACCEPTABLE


class InsightsView:
    """The figures of every workspace; each call sees one project of one workspace only."""

    def __init__(self, models: ReadModels, *, most_buckets: int) -> None:
        """Read from these read models; a window with more than `most_buckets` buckets is refused."""
        self._models = models
        self._most_buckets = most_buckets

    async def read_insights(
        self, workspace_id: UUID, project_id: UUID, window: Window, workflow_id: UUID | None = None
    ) -> RuleInput:
        """Return the figures and the newest graphs of the workflows, for the rules. Raises as `figures` does."""
        figures = await self.figures(workspace_id, project_id, window, workflow_id)
        busiest = sorted(
            figures.workflows, key=lambda workflow_id: (-figures.workflows[workflow_id].runs.started, workflow_id.int)
        )
        rows = await self._models.rows(
            GRAPHS, {"project": project_id, "workspace": workspace_id, "ids": busiest[:GRAPHS_MAX]}
        )
        workflows = ((workflow_id, _workflow_decoder.decode(document)) for workflow_id, document in rows)
        return RuleInput(
            figures=figures,
            graphs={workflow_id: (workflow.version, workflow.graph) for workflow_id, workflow in workflows},
        )

    async def figures(
        self, workspace_id: UUID, project_id: UUID, window: Window, workflow_id: UUID | None = None
    ) -> Figures:
        """Return the figures of a project or of one of its workflows. Raises Unavailable, WindowTooLarge."""
        of = {"project": project_id, "workspace": workspace_id, "workflow": workflow_id}
        pasts, grains, starts, ends = (list(column) for column in zip(*split_window(window), strict=True))
        rows = await self._models.rows(
            READ,
            {**of, "pasts": pasts, "grains": grains, "starts": starts, "ends": ends, "limit": self._most_buckets + 1},
        )
        if len(rows) > self._most_buckets:
            raise WindowTooLarge
        figures = Figures(window=window)
        for count, row in enumerate(rows, start=1):
            figures.add(_bucket(row))
            if count % BUCKETS_PER_TURN == 0:
                await asyncio.sleep(0)
        for workflow, waiting in await self._models.rows(WAITING, of):
            figures.add_waiting(workflow, waiting)
        return figures


def split_window(window: Window) -> Iterator[Period]:
    """Yield the periods to read for a window and the period before it: whole days by day, the rest by hour.

    A day begins and ends at midnight UTC.
    """
    length = window.ends_at - window.starts_at
    for past, start in ((True, window.starts_at - length), (False, window.starts_at)):
        end = start + length
        first = _midnight(start + timedelta(seconds=DAY - HOUR))
        last = _midnight(end)
        if window.series_grain == HOUR or first >= last:
            yield past, HOUR, start, end
            continue
        yield past, HOUR, start, first
        yield past, DAY, first, last
        yield past, HOUR, last, end


def _midnight(at: datetime) -> datetime:
    """Return the last midnight (UTC) at or before a time."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _bucket(row: tuple[Any, ...]) -> Bucket:
    past, starts_at, kind, workflow, version, node, model, asset_version, asset, measures = row
    return Bucket(
        past=past,
        starts_at=starts_at,
        kind=Kind(kind),
        workflow_id=workflow,
        workflow_version=version,
        node=node,
        model=model,
        asset_version=asset_version,
        asset_id=asset,
        measures=_decoder.decode(measures),
    )
