"""Start a projection again that is ahead of the log: its rows hold facts that a restore has removed."""

from typing import Any, Final

import structlog
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from projections.runtime.projection import Projection

AHEAD: Final = """
select c.position, h.position from checkpoints c cross join log_head h
 where c.projection = %b and c.position > h.position
"""
"""Read the checkpoint of a projection and the head of the log, if the checkpoint is past the end of the log."""

RESET: Final = """
update checkpoints set position = 0, revision = revision + 1, updated_at = now() where projection = %b
"""
"""Move the checkpoint to the start of the log; the new revision makes other processes reload parked facts."""

UNPARK: Final = "delete from parked where projection = %b"
"""Forget parked workspaces: a fact that still cannot be folded parks its workspace again."""


async def reset_if_ahead(connection: AsyncConnection[Any], projection: Projection) -> bool:
    """Empty the tables of a projection whose checkpoint is past the end of the log; return whether it was.

    That happens when the tables of the log are restored alone. It is folded from the start of the log then.
    """
    row = await (await connection.execute(AHEAD, [projection.name])).fetchone()
    if row is None:
        return False
    checkpoint, head = row
    async with connection.transaction():
        tables = SQL(", ").join(Identifier(table) for table in projection.tables)
        if projection.tables:
            await connection.execute(SQL("truncate {}").format(tables))
        await connection.execute(UNPARK, [projection.name])
        await connection.execute(RESET, [projection.name])
    structlog.get_logger("projections.follower").error(
        "projection.folded_anew", projection=projection.name, checkpoint=checkpoint, head=head
    )
    return True
