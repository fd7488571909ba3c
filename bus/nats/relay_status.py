"""Where the relay stands against the head of the log, and which process has it, for those who watch over it."""

import os
import socket
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

RELAYS: Final = "callsheet-relay@"
APPLICATION_NAME_BYTES: Final = 63
"""What PostgreSQL keeps of an application's name."""

STANDING: Final = """
select h.position, c.position, c.moved_at,
       (select extract(epoch from clock_timestamp() - e.recorded_at)::float8
          from events e
         where e.notification_id = coalesce(c.position, 0) + 1)
  from log_head h
  left join relay_cursors c on c.carrier = %b
"""
"""Read the head, and the cursor with the age of the first fact after it, of one moment."""

HELD: Final = """
select a.application_name, a.backend_start,
       exists (select from pg_locks l
                where l.pid = a.pid and l.locktype = 'advisory' and l.classid = 1919251553 and l.granted)
  from pg_stat_activity a
 where a.datname = current_database() and starts_with(a.application_name, 'callsheet-relay@')
 order by a.backend_start
"""
"""Read every process that may relay and is connected to NATS, and whether it is the one that does."""


class RelayProcess(Struct, frozen=True, kw_only=True):
    """The process that relays, as `pid.host`, and since when it has been connected for that."""

    process: str
    since: datetime


class RelayStanding(Struct, frozen=True, kw_only=True):
    """How far the relay has come; `begun` is false where nothing was ever relayed.

    `lag_seconds` is the age of the oldest fact that is not known to be published.
    """

    head: int
    begun: bool
    cursor: int
    moved_at: datetime | None
    lag_events: int
    lag_seconds: float
    holder: RelayProcess | None
    standing_by: int


def relay_name() -> str:
    """Give the name that this process's connection has while it may relay."""
    name = f"{RELAYS}{os.getpid()}.{socket.gethostname()}"
    return name.encode()[:APPLICATION_NAME_BYTES].decode(errors="ignore")


async def relay_standing(connection: AsyncConnection[tuple[Any, ...]], carrier: str = "nats") -> RelayStanding:
    """Read where the relay stands, and who has it."""
    row = await (await connection.execute(STANDING, [carrier])).fetchone()
    head, cursor, moved_at, age = row or (0, None, None, None)
    holders: list[RelayProcess] = []
    others = 0
    for name, since, holds in await (await connection.execute(HELD)).fetchall():
        if holds:
            holders.append(RelayProcess(process=name.removeprefix(RELAYS), since=since))
        else:
            others += 1
    return RelayStanding(
        head=head,
        begun=cursor is not None,
        cursor=cursor or 0,
        moved_at=moved_at,
        lag_events=head - (cursor or 0),
        lag_seconds=max(0.0, age or 0.0),
        holder=holders[0] if holders else None,
        standing_by=others,
    )
