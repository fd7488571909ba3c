"""Queries for operators: parked workspaces, skipped facts, and their history."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

PARKED: Final = """
select p.projection, p.workspace_id, p.from_position, p.stream_id, p.version, p.topic, p.error, p.parked_at,
       h.position - p.from_position + 1
  from parked p
 cross join log_head h
 where (%(projection)b::text is null or p.projection = %(projection)b)
   and (%(workspace)b::uuid is null or p.workspace_id = %(workspace)b)
 order by p.parked_at, p.projection, p.workspace_id
 limit %(limit)b
"""
"""Read parked workspaces, the longest parked first, with the number of positions since."""

SKIPPED: Final = """
select projection, position, workspace_id, stream_id, version, topic, error, rest_of_stream, skipped_by, why, skipped_at
  from skipped
 where (%(projection)b::text is null or projection = %(projection)b)
   and (%(workspace)b::uuid is null or workspace_id = %(workspace)b)
 order by skipped_at desc, projection, position
 limit %(limit)b
"""
"""Read skipped facts, the latest first."""

HISTORY: Final = """
select projection, workspace_id, position, happened, by_whom, detail, at
  from parking_history
 where projection = %(projection)b and workspace_id = %(workspace)b
 order by id desc
 limit %(limit)b
"""
"""Read the history of a workspace in a projection, the latest first."""

EACH: Final = """
select workspace_id, from_position, parked_at
  from parked
 where projection = %(projection)b
   and (%(workspace)b::uuid is null or workspace_id = %(workspace)b)
   and parked_at < %(before)b::timestamptz
   and (parked_at, workspace_id) > (%(at)b::timestamptz, %(after)b::uuid)
 order by parked_at, workspace_id
 limit %(limit)b
"""
"""Read a page of the workspaces that were parked before a moment, the longest parked first."""

NOW: Final = "select clock_timestamp()"

MOST: Final = 1_000
"""The maximum number of rows."""


class ParkedRow(Struct, frozen=True, kw_only=True):
    """A workspace that a projection excludes from a position on. `behind` counts the positions since."""

    projection: str
    workspace_id: UUID
    from_position: int
    stream_id: UUID
    version: int
    topic: str
    error: str
    parked_at: datetime
    behind: int


class SkippedRow(Struct, frozen=True, kw_only=True):
    """A fact that a projection excludes permanently."""

    projection: str
    position: int
    workspace_id: UUID
    stream_id: UUID
    version: int
    topic: str
    error: str
    rest_of_stream: bool
    skipped_by: str
    why: str
    skipped_at: datetime


class HistoryRow(Struct, frozen=True, kw_only=True):
    """An entry in the history of a workspace in a projection: parked, retried, skipped or unparked."""

    projection: str
    workspace_id: UUID
    position: int
    happened: str
    by_whom: str
    detail: str
    at: datetime


async def parked_rows(
    connection: AsyncConnection[Any], projection: str | None = None, workspace_id: UUID | None = None
) -> list[ParkedRow]:
    """Return parked workspaces, optionally of one projection or workspace; at most a thousand."""
    cursor = await _execute(connection, PARKED, projection, workspace_id)
    return [
        ParkedRow(
            projection=name,
            workspace_id=workspace,
            from_position=position,
            stream_id=stream,
            version=version,
            topic=topic,
            error=error,
            parked_at=at,
            behind=behind,
        )
        for name, workspace, position, stream, version, topic, error, at, behind in await cursor.fetchall()
    ]


async def each_parked(
    connection: AsyncConnection[Any], projection: str, workspace_id: UUID | None = None
) -> AsyncIterator[tuple[UUID, int]]:
    """Yield every workspace that is parked in a projection now, or a given one, with its position.

    Workspaces parked meanwhile are not included, so that a caller who retries each of them finishes.
    """
    ((before,),) = await (await connection.execute(NOW)).fetchall()
    at, after = datetime.min.replace(tzinfo=UTC), UUID(int=0)
    while True:
        cursor = connection.cursor(binary=True)
        asked = {"projection": projection, "workspace": workspace_id, "before": before, "limit": MOST}
        await cursor.execute(EACH, {**asked, "at": at, "after": after})
        rows = await cursor.fetchall()
        for after, position, at in rows:  # noqa: B007  # where the next page begins
            yield after, position
        if len(rows) < MOST:
            return


async def skipped_rows(
    connection: AsyncConnection[Any], projection: str | None = None, workspace_id: UUID | None = None
) -> list[SkippedRow]:
    """Return skipped facts, optionally of one projection or workspace; at most a thousand."""
    cursor = await _execute(connection, SKIPPED, projection, workspace_id)
    return [
        SkippedRow(
            projection=name,
            position=position,
            workspace_id=workspace,
            stream_id=stream,
            version=version,
            topic=topic,
            error=error,
            rest_of_stream=rest,
            skipped_by=by,
            why=why,
            skipped_at=at,
        )
        for name, position, workspace, stream, version, topic, error, rest, by, why, at in await cursor.fetchall()
    ]


async def history_rows(connection: AsyncConnection[Any], projection: str, workspace_id: UUID) -> list[HistoryRow]:
    """Return the history of a workspace in a projection, the latest first; at most a thousand."""
    cursor = await _execute(connection, HISTORY, projection, workspace_id)
    return [
        HistoryRow(
            projection=name,
            workspace_id=workspace,
            position=position,
            happened=happened,
            by_whom=by,
            detail=detail,
            at=at,
        )
        for name, workspace, position, happened, by, detail, at in await cursor.fetchall()
    ]


async def _execute(
    connection: AsyncConnection[Any],
    query: Any,  # noqa: ANN401  # a literal
    projection: str | None,
    workspace_id: UUID | None,
) -> Any:  # noqa: ANN401  # a cursor
    cursor = connection.cursor(binary=True)
    return await cursor.execute(query, {"projection": projection, "workspace": workspace_id, "limit": MOST})
