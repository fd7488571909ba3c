"""Read rows of the log without decoding them, so that events of other versions of the code are shown too."""

from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from bus.nats.cloudevents import Stored
from store.log.queries import HEAD, LogFilter, log_parameters

Connection = AsyncConnection[tuple[Any, ...]]

POSITIONS_A_QUERY: Final = 10_000
"""Positions that one query scans at most: a filter that matches little cannot hold a connection."""

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


async def read_head(connection: Connection) -> tuple[int, UUID]:
    """Return the last position and the id of the log."""
    row = await (await connection.execute(HEAD)).fetchone()
    if row is None:
        raise TypeError("the log has no head row")
    return row[0], row[1]


async def read_page(
    connection: Connection, after: int, head: int, limit: int, only: LogFilter
) -> tuple[list[Stored], int]:
    """Return matching events after a position, oldest first, and the position scanned up to: the head at most."""
    through = min(head, after + POSITIONS_A_QUERY)
    rows = await _rows(connection, AFTER, after, through, limit, only)
    return rows, rows[-1].position if len(rows) == limit else through


async def read_latest(connection: Connection, head: int, most: int, only: LogFilter) -> list[Stored]:
    """Return the last matching events up to a position, oldest first; scans back to the start of the log."""
    found: list[Stored] = []
    through = head
    while through > 0 and len(found) < most:
        after = max(0, through - POSITIONS_A_QUERY)
        found += await _rows(connection, BEFORE, after, through, most - len(found), only)
        through = after
    return found[::-1]


async def _rows(
    connection: Connection, query: LiteralString, after: int, through: int, limit: int, only: LogFilter
) -> list[Stored]:
    cursor = await connection.cursor(binary=True).execute(query, log_parameters(after, through, limit, only))
    return [Stored(*row) for row in await cursor.fetchall()]
