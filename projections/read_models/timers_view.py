"""Reading timers: those that are due, in pages, and when the next one is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from projections.runtime.read_pool import ReadModels

DUE: Final = """
select run_id, node, due_at, workspace_id
  from timers
 where due_at <= %(now)b::timestamptz
   and workspace_id <> all(%(beside)b::uuid[])
   and (due_at, run_id, node) > (%(due_at)b::timestamptz, %(run)b::uuid, %(node)b::text)
 order by due_at, run_id, node
 limit %(limit)b
"""
"""Read a page of the timers that are due, of all workspaces but some, the earliest first."""

NEXT: Final = "select due_at from timers where due_at > %(now)b::timestamptz order by due_at limit 1"
"""Read when the next timer is due: one row of the index, however many are pending."""


CHECKPOINT: Final = "select coalesce((select position from checkpoints where projection = 'timers'), 0)"
"""Read how far the timers have been folded."""


class Timer(Struct, frozen=True):
    """A step that is due by the clock."""

    run_id: UUID
    node: str
    due_at: datetime
    workspace_id: UUID


BEGINNING: Final = Timer(UUID(int=0), "", datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
"""A position before every timer."""


class TimersView:
    """The pending timers of every workspace, for the engine."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def due(
        self, now: datetime, limit: int, after: Timer = BEGINNING, beside: Sequence[UUID] = ()
    ) -> list[Timer]:
        """Return timers that are due, the earliest first, after a timer of the previous page. Raises Unavailable.

        Those of the workspaces `beside` are left out.
        """
        parameters = {
            "now": now,
            "due_at": after.due_at,
            "run": after.run_id,
            "node": after.node,
            "beside": list(beside),
            "limit": limit,
        }
        return [Timer(*row) for row in await self._models.rows(DUE, parameters)]

    async def next_after(self, now: datetime) -> datetime | None:
        """Return when the first timer is due that is not due yet. Raises Unavailable."""
        row = await self._models.first(NEXT, {"now": now})
        return None if row is None else row[0]

    async def position(self) -> int:
        """Return the position up to which the timers have been folded. Raises Unavailable."""
        row = await self._models.first(CHECKPOINT, {})
        return 0 if row is None else row[0]
