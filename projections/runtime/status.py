"""Where every projection stands against the head of the log, and which worker has it, for those who watch over them."""

import os
import socket
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection

WORKERS: Final = "callsheet-projection-"
APPLICATION_NAME_BYTES: Final = 63
"""What PostgreSQL keeps of an application's name."""

STANDING: Final = """
select h.position, c.projection, c.position, c.updated_at, c.generation,
       (select count(*) from parked p where p.projection = c.projection),
       (select extract(epoch from clock_timestamp() - e.recorded_at)::float8
          from events e
         where e.notification_id = c.position + 1)
  from log_head h
 cross join (
    select projection, position, updated_at, generation from checkpoints union all select null, 0, null, 0
 ) c
 order by c.projection nulls first
"""
"""Read the head, and each checkpoint with the age of the first fact after it, all of one moment.

The first row is of a projection that was never begun.
"""

FOLLOWED: Final = """
select a.application_name, a.pid, a.backend_start,
       exists (select from pg_locks l
                where l.pid = a.pid and l.locktype = 'advisory' and l.classid = 1886547818 and l.granted)
  from pg_stat_activity a
 where a.datname = current_database() and starts_with(a.application_name, 'callsheet-projection-')
 order by a.backend_start
"""
"""Read every worker that is connected for a projection, and whether it is the one that has it."""


class WorkerProcess(Struct, frozen=True, kw_only=True):
    """A worker that is connected for a projection: its process, as `pid.host`, and its backend of PostgreSQL."""

    process: str
    backend: int
    since: datetime


class Standing(Struct, frozen=True, kw_only=True):
    """How far one projection has come. `lag_seconds` is the age of the oldest fact that it has still to look at.

    `parked` counts the workspaces that it leaves out until somebody has looked; `generation` is the rebuild that made
    its tables, 0 for none.
    """

    projection: str
    position: int
    moved_at: datetime | None
    lag_events: int
    lag_seconds: float
    parked: int
    generation: int
    followed_by: WorkerProcess | None
    standing_by: int


class Standings(Struct, frozen=True, kw_only=True):
    """The head of the log, and every projection that has a checkpoint, by name."""

    head: int
    projections: dict[str, Standing]
    unbegun: Standing

    def of(self, projection: str) -> Standing:
        """Give where a projection stands; one that was never begun is at the start of the log."""
        return self.projections.get(projection) or replace(self.unbegun, projection=projection)


def worker_name(projection: str) -> str:
    """Give the name that a worker's connection has for a projection; it says which process it is of."""
    name = f"{WORKERS}{projection}@{os.getpid()}.{socket.gethostname()}"
    return name.encode()[:APPLICATION_NAME_BYTES].decode(errors="ignore")


async def standings(connection: AsyncConnection[tuple[Any, ...]]) -> Standings:
    """Read where every projection stands, and who follows."""
    rows = await (await connection.execute(STANDING)).fetchall()
    owners: dict[str, WorkerProcess] = {}
    others: dict[str, int] = {}
    for name, backend, since, owns in await (await connection.execute(FOLLOWED)).fetchall():
        projection, _, process = name.removeprefix(WORKERS).partition("@")
        if owns:
            owners[projection] = WorkerProcess(process=process, backend=backend, since=since)
        else:
            others[projection] = others.get(projection, 0) + 1
    unbegun, *begun = (
        Standing(
            projection=name or "",
            position=position,
            moved_at=moved_at,
            lag_events=head - position,
            lag_seconds=max(0.0, age or 0.0),
            parked=parked,
            generation=generation,
            followed_by=owners.get(name),
            standing_by=others.get(name, 0),
        )
        for head, name, position, moved_at, generation, parked, age in rows
    )
    return Standings(head=unbegun.lag_events, projections={one.projection: one for one in begun}, unbegun=unbegun)
