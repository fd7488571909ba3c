"""Reading decoded events within a connection or a transaction of the caller's; `store.log.log.Log` reads by a pool."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from store.log.codec import TOPICS
from store.log.decoding import decode_events
from store.log.queries import (
    AGES,
    AT_POSITIONS,
    FILTERED_RANGE,
    STREAM_BEGINNINGS,
    TOPICS_RANGE,
    LogFilter,
    range_parameters,
)
from store.log.records import Recorded
from store.postgres.arrays import longs, uuids

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]
"""Type of a cursor with binary results."""


async def read_range(cursor: Cursor, *, after: int, through: int, limit: int, only: LogFilter) -> list[Recorded]:
    """Return at most `limit` matching events at positions from `after` (exclusive) to `through` (inclusive)."""
    await cursor.execute(FILTERED_RANGE, range_parameters(after, through, limit, only))
    return decode_events(await cursor.fetchall())


async def read_topics(cursor: Cursor, *, after: int, through: int, wanted: Sequence[str]) -> list[Recorded]:
    """Return the events of a range that have a wanted topic or an unknown one; the range bounds their number."""
    parameters = {"after": after, "through": through, "wanted": list(wanted), "known": list(TOPICS)}
    await cursor.execute(TOPICS_RANGE, parameters, prepare=True)
    return decode_events(await cursor.fetchall())


async def read_stream_beginnings(cursor: Cursor, streams: Sequence[tuple[UUID, int]]) -> list[Recorded]:
    """Return the events of streams before a version each, stream by stream in order of version."""
    parameters = {
        "streams": uuids(stream for stream, _ in streams),
        "versions": longs(version for _, version in streams),
    }
    await cursor.execute(STREAM_BEGINNINGS, parameters, prepare=True)
    return decode_events(await cursor.fetchall())


async def read_at_positions(connection: Connection, positions: Sequence[int]) -> list[Recorded]:
    """Return the events at some positions, in the order of these."""
    cursor = await connection.cursor(binary=True).execute(AT_POSITIONS, {"positions": list(positions)})
    return decode_events(await cursor.fetchall())


async def read_ages(connection: Connection, positions: Sequence[int]) -> dict[int, float]:
    """Return how many seconds ago the events at some positions were recorded, by position; absent ones are left out."""
    cursor = await connection.execute(AGES, {"positions": list(positions)})
    return dict(await cursor.fetchall())
