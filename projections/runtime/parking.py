"""Where a worker goes on with a projection: its checkpoint, what is parked in it and what it skips."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from domain.fact import topic_of
from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.projection import Cursor, Unfoldable
from projections.runtime.skips import NO_SKIPS, Skips, skips_of
from store.log.records import Unreadable

BEGIN: Final = "insert into checkpoints (projection) values (%b) on conflict do nothing"
"""Make the checkpoint of a projection that has none."""

CHECKPOINT: Final = "select position, revision from checkpoints where projection = %b"
"""Read how far a projection has folded the log, and which revision of what it leaves out it obeys."""

PARKED: Final = "select workspace_id, from_position from parked where projection = %b"
"""Read what is parked in a projection."""

PARK: Final = """
with parked_now as (
    insert into parked (projection, workspace_id, from_position, stream_id, version, topic, error)
    values (%(projection)b, %(workspace)b, %(position)b::bigint, %(stream)b, %(version)b::bigint, %(topic)b, %(error)b)
        on conflict (projection, workspace_id) do nothing
    returning projection, workspace_id, from_position, error
)
insert into parking_history (projection, workspace_id, position, happened, by_whom, detail)
select projection, workspace_id, from_position, 'parked', 'worker', error from parked_now
"""
"""Park a workspace, and write that down."""

LONGEST_ERROR: Final = 2_000


class Footing(Struct, frozen=True, kw_only=True):
    """Where a worker goes on. `revision` grows when what it leaves out is changed; see the column of that name."""

    position: int = 0
    revision: int = 0
    parked: Mapping[UUID, int] = NOTHING_PARKED
    skips: Skips = NO_SKIPS


async def footing_of(connection: AsyncConnection[Any], projection: str) -> Footing:
    """Read where to go on, making its checkpoint if it has none."""
    await connection.execute(BEGIN, [projection])
    # The revision first: what is changed while the rest is read is then noticed by whoever compares it later.
    cursor = await connection.execute(CHECKPOINT, [projection])
    ((position, revision),) = await cursor.fetchall()
    cursor = await connection.execute(PARKED, [projection])
    parked = dict(await cursor.fetchall())
    return Footing(position=position, revision=revision, parked=parked, skips=await skips_of(connection, projection))


async def park(cursor: Cursor, projection: str, poison: Unfoldable) -> None:
    """Park the workspace of a fact that cannot be folded, from that fact on."""
    recorded = poison.recorded
    await cursor.execute(
        PARK,
        {
            "projection": projection,
            "workspace": poison.workspace_id,
            "position": poison.position,
            "stream": recorded.stream_id,
            "version": recorded.version,
            "topic": topic_as_stored(poison),
            "error": error_text(poison),
        },
    )


def topic_as_stored(poison: Unfoldable) -> str:
    """Give the topic of the fact, as the log has it."""
    fact = poison.recorded.fact
    return fact.topic if isinstance(fact, Unreadable) else topic_of(type(fact))


def error_text(poison: Unfoldable) -> str:
    """Give why the fact cannot be folded, in a form that PostgreSQL can store."""
    return poison.reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_ERROR]
