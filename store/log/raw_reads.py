"""Reading events as they are stored, undecoded: for the relay, and for operators, also where decoding fails."""

from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from store.log.queries import (
    HEAD,
    RAW_FILTERED_RANGE,
    RAW_FILTERED_RANGE_BACKWARDS,
    RAW_RANGE,
    SEALED_RANGE,
    LogFilter,
    range_parameters,
)
from store.log.records import StoredEvent

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

POSITIONS_MAX: Final = 10_000
"""Positions that one query reads at most, so that a rare filter cannot hold a connection."""


async def read_head(connection: Connection) -> tuple[int, UUID]:
    """Return the last position and the log's id."""
    row = await (await connection.execute(HEAD)).fetchone()
    if row is None:
        raise TypeError("the log has no head row")
    return row[0], row[1]


async def read_raw_range(cursor: Cursor, *, after: int, through: int, limit: int) -> list[StoredEvent]:
    """Return at most `limit` events of a range of positions, without the records of outside libraries."""
    await cursor.execute(RAW_RANGE, {"after": after, "through": through, "limit": limit}, prepare=True)
    return [StoredEvent(*row) for row in await cursor.fetchall()]


async def read_sealed_range(connection: Connection, *, after: int, limit: int) -> list[StoredEvent]:
    """Return at most `limit` events after a position, of every format: a seal covers them all."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(SEALED_RANGE, {"after": after, "limit": limit}, prepare=True)
    return [StoredEvent(*row) for row in await cursor.fetchall()]


async def read_raw_page(
    connection: Connection, *, after: int, head: int, limit: int, only: LogFilter
) -> tuple[list[StoredEvent], int]:
    """Return matching events after a position, oldest first, and the last position that was read, at most the head."""
    through = min(head, after + POSITIONS_MAX)
    events = await _fetch(connection, RAW_FILTERED_RANGE, after, through, limit, only)
    return events, events[-1].position if len(events) == limit else through


async def read_raw_latest(connection: Connection, *, head: int, limit: int, only: LogFilter) -> list[StoredEvent]:
    """Return the last matching events up to the head, oldest first; searches back to the start of the log."""
    found: list[StoredEvent] = []
    through = head
    while through > 0 and len(found) < limit:
        after = max(0, through - POSITIONS_MAX)
        found += await _fetch(connection, RAW_FILTERED_RANGE_BACKWARDS, after, through, limit - len(found), only)
        through = after
    return found[::-1]


async def _fetch(
    connection: Connection, query: LiteralString, after: int, through: int, limit: int, only: LogFilter
) -> list[StoredEvent]:
    cursor = await connection.cursor(binary=True).execute(query, range_parameters(after, through, limit, only))
    return [StoredEvent(*row) for row in await cursor.fetchall()]
