"""Looking into the log as it stands there, undecoded: also at what this version of the code cannot read."""

from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from bus.nats.cloudevents import Stored
from store.log.queries import HEAD, LogFilter, log_parameters

Connection = AsyncConnection[tuple[Any, ...]]

STRETCH: Final = 10_000
"""Positions that one query looks at, at most: a rare filter cannot hold a connection."""

AFTER: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
   and (%(workspace)b::uuid is null or workspace_id = %(workspace)b)
   and (%(project)b::uuid is null or project_id = %(project)b)
   and (%(stream)b::uuid is null or originator_id = %(stream)b)
   and (%(topics)b::text[] is null or topic = any (%(topics)b))
 order by notification_id
 limit %(limit)b
"""
"""Read a stretch of the log in order of position, whatever its format."""

BEFORE: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
   and (%(workspace)b::uuid is null or workspace_id = %(workspace)b)
   and (%(project)b::uuid is null or project_id = %(project)b)
   and (%(stream)b::uuid is null or originator_id = %(stream)b)
   and (%(topics)b::text[] is null or topic = any (%(topics)b))
 order by notification_id desc
 limit %(limit)b
"""
"""Read the same from its end."""


async def head_of(connection: Connection) -> tuple[int, UUID]:
    """Give the last position and the log's id."""
    row = await (await connection.execute(HEAD)).fetchone()
    if row is None:
        raise TypeError("the log has no head row")
    return row[0], row[1]


async def page_after(
    connection: Connection, after: int, head: int, limit: int, only: LogFilter
) -> tuple[list[Stored], int]:
    """Give matching events after a position, oldest first, and how far it looked: to the head at most."""
    through = min(head, after + STRETCH)
    rows = await _rows(connection, AFTER, after, through, limit, only)
    return rows, rows[-1].position if len(rows) == limit else through


async def latest(connection: Connection, head: int, most: int, only: LogFilter) -> list[Stored]:
    """Give the last matching events up to a position, oldest first; looks back to the start of the log for them."""
    found: list[Stored] = []
    through = head
    while through > 0 and len(found) < most:
        after = max(0, through - STRETCH)
        found += await _rows(connection, BEFORE, after, through, most - len(found), only)
        through = after
    return found[::-1]


async def _rows(
    connection: Connection, query: LiteralString, after: int, through: int, limit: int, only: LogFilter
) -> list[Stored]:
    cursor = await connection.cursor(binary=True).execute(query, log_parameters(after, through, limit, only))
    return [Stored(*row) for row in await cursor.fetchall()]
