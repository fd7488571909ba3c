"""Reading insights: the figures of a project over a window of time, added up from its buckets in one query."""

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
from projections.insights.recommendations.recommendation import Seen
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
"""Read the buckets of some stretches of time, each of one grain; the limit within keeps the planner to the index."""

WAITING: Final = """
select workflow_id, count(*)
  from runs
 where project_id = %(project)b and workspace_id = %(workspace)b and status = 'waiting'
   and (%(workflow)b::uuid is null or workflow_id = %(workflow)b)
 group by workflow_id
"""
"""Count the runs that wait now."""

GRAPHS: Final = """
select id, document::text
  from workflows
 where project_id = %(project)b and workspace_id = %(workspace)b and id = any (%(ids)b::uuid[])
"""
"""Read workflows with their newest graphs."""

MOST_GRAPHS: Final = 100
"""Of how many workflows the graphs are looked at: those with the most runs."""

BUCKETS_AT_A_TIME: Final = 500
"""How many buckets are added up before others of the process have their turn: some milliseconds of them."""

_decoder: Final = Decoder(Measures)
_workflow_decoder: Final = Decoder(Workflow)
Stretch = tuple[bool, int, datetime, datetime]


class WindowTooLarge(Refusal):
    """There is too much in the window to add up at once: ask for a shorter one, or for one workflow."""

    code = "window_too_large"
    kind = RefusalKind.UNACCEPTABLE


class InsightsView:
    """The figures of every workspace; each call sees one project of one workspace only."""

    def __init__(self, models: ReadModels, *, most_buckets: int) -> None:
        """Read from these read models, so many buckets at a time."""
        self._models = models
        self._most_buckets = most_buckets

    async def seen(self, workspace_id: UUID, project_id: UUID, window: Window, workflow_id: UUID | None = None) -> Seen:
        """Give what rules judge: the figures, and the newest graphs of the workflows. Raises as `figures` does."""
        figures = await self.figures(workspace_id, project_id, window, workflow_id)
        busiest = sorted(figures.workflows, key=lambda one: (-figures.workflows[one].runs.started, one.int))
        rows = await self._models.rows(
            GRAPHS, {"project": project_id, "workspace": workspace_id, "ids": busiest[:MOST_GRAPHS]}
        )
        workflows = ((one, _workflow_decoder.decode(document)) for one, document in rows)
        return Seen(figures=figures, graphs={one: (workflow.version, workflow.graph) for one, workflow in workflows})

    async def figures(
        self, workspace_id: UUID, project_id: UUID, window: Window, workflow_id: UUID | None = None
    ) -> Figures:
        """Give the figures of a project, or of one workflow of it. Raises Unavailable, WindowTooLarge."""
        of = {"project": project_id, "workspace": workspace_id, "workflow": workflow_id}
        pasts, grains, starts, ends = (list(column) for column in zip(*stretches(window), strict=True))
        rows = await self._models.rows(
            READ,
            {**of, "pasts": pasts, "grains": grains, "starts": starts, "ends": ends, "limit": self._most_buckets + 1},
        )
        if len(rows) > self._most_buckets:
            raise WindowTooLarge
        figures = Figures(window=window)
        for place, row in enumerate(rows, start=1):
            figures.add(_bucket(row))
            if place % BUCKETS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        for workflow, count in await self._models.rows(WAITING, of):
            figures.wait(workflow, count)
        return figures


def stretches(window: Window) -> Iterator[Stretch]:
    """Give what is to be read for a window and for the time before it: whole days by the day, and the rest by the hour.

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
    """Give the midnight before a time, or that time itself."""
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
