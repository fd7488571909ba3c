"""Skip a fact of a projection permanently, with an operator's reason."""

from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

SKIP: Final = """
with skipped_now as (
    insert into skipped (projection, position, workspace_id, stream_id, version, topic, error, rest_of_stream,
                         skipped_by, why)
    select projection, from_position, workspace_id, stream_id, version, topic, error,
           %(rest)b or version = 1, %(by)b, %(why)b
      from parked
     where projection = %(projection)b and workspace_id = %(workspace)b and from_position = %(position)b::bigint
        on conflict (projection, position) do update
       set rest_of_stream = skipped.rest_of_stream or excluded.rest_of_stream
    returning projection, workspace_id, position, skipped_by, why, rest_of_stream
)
insert into parking_history (projection, workspace_id, position, happened, by_whom, detail)
select projection, workspace_id, position, 'skipped', %(by)b,
       case when rest_of_stream then 'and the rest of its stream: ' else '' end || %(why)b
  from skipped_now
returning position
"""
"""Skip the fact that a workspace is parked at, and record it; a no-op when it is parked elsewhere."""


class Skip(Struct, frozen=True, kw_only=True):
    """A request to skip the fact that a workspace is parked at, optionally with the rest of its stream.

    Skipping the first fact of a stream always skips the rest: there is no state to fold it onto.
    """

    projection: str
    workspace_id: UUID
    position: int
    rest_of_stream: bool
    by: str
    why: str


class ParkedElsewhere(Exception):  # noqa: N818  # a message for the operator
    """The workspace is not parked at this fact: only facts that an operator has seen are skipped."""


async def skip(connection: AsyncConnection[Any], said: Skip) -> None:
    """Record that the fact is skipped; a retry then obeys it. Raises ParkedElsewhere."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        SKIP,
        {
            "projection": said.projection,
            "workspace": said.workspace_id,
            "position": said.position,
            "rest": said.rest_of_stream,
            "by": said.by,
            "why": said.why,
        },
    )
    if await cursor.fetchone() is None:
        raise ParkedElsewhere
