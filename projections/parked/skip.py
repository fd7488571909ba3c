"""Skipping: a person says that a projection is to pass over a fact, and why; it is kept for ever."""

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
"""Skip the fact at which a workspace is parked, and write that down; nothing happens where it is parked elsewhere."""


class Skip(Struct, frozen=True, kw_only=True):
    """What a person said: the fact at which the workspace is parked is to be left out, with what follows in its stream.

    After the first fact of a stream the rest is always left out: there is nothing to fold it onto.
    """

    projection: str
    workspace_id: UUID
    position: int
    rest_of_stream: bool
    by: str
    why: str


class ParkedElsewhere(Exception):  # noqa: N818  # an answer to the person who asked
    """The workspace is not parked at this fact: nothing is skipped that nobody has looked at."""


async def skip(connection: AsyncConnection[Any], said: Skip) -> None:
    """Write down that the fact is skipped; a retry then obeys it. Raises ParkedElsewhere."""
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
