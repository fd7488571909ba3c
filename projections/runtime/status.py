"""Status of projections for operators and metrics: the lag behind the head of the log, and the worker of each."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection

from store.log.readers import read_ages
from store.postgres.lock_status import NOBODY, LockHolder, read_lock_status

LOCK: Final = 1886547818
"""The kind of the role "moves a projection"; see `store/postgres/exclusive.py`."""

SESSION_PREFIX: Final = "callsheet-projection-"

CHECKPOINTS_AND_HEAD: Final = """
select h.position, c.projection, c.position, c.updated_at, c.generation,
       (select count(*) from parked p where p.projection = c.projection)
  from log_head h
 cross join (
    select projection, position, updated_at, generation from checkpoints union all select null, 0, null, 0
 ) c
 order by c.projection nulls first
"""
"""Read the head and each checkpoint in one snapshot.

The first row describes a projection without a checkpoint.
"""


class ProjectionStatus(Struct, frozen=True, kw_only=True):
    """Progress of one projection. `lag_seconds` is the age of the oldest fact that it has not read yet.

    `parked` counts the workspaces that it excludes until an operator acts; `generation` is the rebuild that created
    its tables, 0 for none.
    """

    projection: str
    position: int
    moved_at: datetime | None
    lag_events: int
    lag_seconds: float
    parked: int
    generation: int
    followed_by: LockHolder | None
    standing_by: int


class ProjectionStatuses(Struct, frozen=True, kw_only=True):
    """The head of the log, and every projection that has a checkpoint, by name."""

    head: int
    projections: dict[str, ProjectionStatus]
    without_checkpoint: ProjectionStatus

    def get(self, projection: str) -> ProjectionStatus:
        """Return the status of a projection; one without a checkpoint is at the start of the log."""
        return self.projections.get(projection) or replace(self.without_checkpoint, projection=projection)


def label_session(projection: str) -> str:
    """Return the label for the session of a projection's worker; see `name_session`."""
    return f"{SESSION_PREFIX}{projection}"


async def read_projection_statuses(connection: AsyncConnection[tuple[Any, ...]]) -> ProjectionStatuses:
    """Return the position and lag of every projection, and its worker."""
    rows = await (await connection.execute(CHECKPOINTS_AND_HEAD)).fetchall()
    next_positions = {position + 1 for head, _, position, *_ in rows if position < head}
    ages = await read_ages(connection, list(next_positions)) if next_positions else {}
    locks = await read_lock_status(connection, LOCK, SESSION_PREFIX)
    without_checkpoint, *others = (
        ProjectionStatus(
            projection=name or "",
            position=position,
            moved_at=moved_at,
            lag_events=head - position,
            lag_seconds=max(0.0, ages.get(position + 1, 0.0)) if position < head else 0.0,
            parked=parked,
            generation=generation,
            followed_by=locks.get(name, NOBODY).holder,
            standing_by=locks.get(name, NOBODY).standing_by,
        )
        for head, name, position, moved_at, generation, parked in rows
    )
    return ProjectionStatuses(
        head=without_checkpoint.lag_events,
        projections={status.projection: status for status in others},
        without_checkpoint=without_checkpoint,
    )
