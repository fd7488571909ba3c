"""The state that a worker starts a projection from: checkpoint, parked workspaces and skipped facts."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from domain.fact import get_topic
from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.projection import Cursor, Unfoldable
from projections.runtime.skips import NO_SKIPS, Skips, load_skips
from store.log.records import Unreadable

BEGIN: Final = "insert into checkpoints (projection) values (%b) on conflict do nothing"
"""Create the checkpoint of a projection that has none."""

CHECKPOINT: Final = "select position, revision from checkpoints where projection = %b"
"""Read how far a projection has folded the log, and the revision of its parked and skipped facts."""

PARKED: Final = "select workspace_id, from_position from parked where projection = %b"
"""Read the workspaces that are parked in a projection."""

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
"""Park a workspace, and record it in the history."""

ERROR_CHARACTERS_MAX: Final = 2_000


class ProjectionState(Struct, frozen=True, kw_only=True):
    """Checkpoint and exclusions. `revision` grows whenever parked or skipped facts change; see the column."""

    position: int = 0
    revision: int = 0
    parked: Mapping[UUID, int] = NOTHING_PARKED
    skips: Skips = NO_SKIPS


async def load_state(connection: AsyncConnection[Any], projection: str) -> ProjectionState:
    """Load the state of a projection; create its checkpoint if it has none."""
    await connection.execute(BEGIN, [projection])
    # The revision first: a change while the rest is read is then detected by the next comparison.
    cursor = await connection.execute(CHECKPOINT, [projection])
    ((position, revision),) = await cursor.fetchall()
    cursor = await connection.execute(PARKED, [projection])
    parked = dict(await cursor.fetchall())
    return ProjectionState(
        position=position, revision=revision, parked=parked, skips=await load_skips(connection, projection)
    )


async def park(cursor: Cursor, projection: str, poison: Unfoldable) -> None:
    """Park the workspace of a poison fact, from that fact on."""
    recorded = poison.recorded
    await cursor.execute(
        PARK,
        {
            "projection": projection,
            "workspace": poison.workspace_id,
            "position": poison.position,
            "stream": recorded.stream_id,
            "version": recorded.version,
            "topic": read_topic(poison),
            "error": format_error(poison),
        },
    )


def read_topic(poison: Unfoldable) -> str:
    """Return the topic of the fact, as stored in the log."""
    fact = poison.recorded.fact
    return fact.topic if isinstance(fact, Unreadable) else get_topic(type(fact))


def format_error(poison: Unfoldable) -> str:
    """Return why the fact cannot be folded, as text that PostgreSQL can store."""
    return poison.reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[:ERROR_CHARACTERS_MAX]
