"""Replace the live tables by a generation, in one transaction, while others read and write them.

The tables are locked before the checkpoints, as a worker does it, and the wait for them is shorter than the time
after which PostgreSQL looks for deadlocks: where the two meet, it is the swap that tries again. Readers wait for as
long as the transaction lasts, and then find the new tables under the old names.
"""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from projections.rebuild.bounds import Phase
from projections.rebuild.building import Building
from projections.rebuild.faults import RebuildRefused, SwapPostponed
from projections.rebuild.generation import drop_schema, move_tables
from projections.rebuild.ledger import END, Rebuild
from projections.settings import RebuildSettings

Connection = AsyncConnection[tuple[Any, ...]]

WAIT: Final = "select set_config('lock_timeout', %b::text, true)"
"""Limit the wait for the tables, in milliseconds."""

STAND: Final = """
select projection, position from checkpoints where projection = any (%b::text[]) order by projection for update
"""
"""Lock the checkpoints of the live projections."""

REPLACE: Final = """
update checkpoints set generation = %b::bigint, revision = revision + 1 where projection = any (%b::text[])
"""
"""Record which tables are live now; workers notice the new revision and clear their caches."""


async def swap(
    connection: Connection,
    rebuild: Rebuild,
    building: Building,
    tables: Sequence[str],
    live: str,
    settings: RebuildSettings,
) -> dict[str, int]:
    """Advance the generation to exactly the position of the live tables, and replace them.

    Returns the position of each projection. Raises SwapPostponed when it must be retried: nothing has changed.
    """
    positions, left_out = rebuild.positions, rebuild.exclusions
    try:
        async with connection.transaction():
            stands = await _lock_live(connection, rebuild, tables, live, settings)
            await _replace(connection, rebuild, building, tables, live, stands, settings)
    except BaseException as fault:
        rebuild.positions, rebuild.exclusions = positions, left_out
        building.forget_state()
        if isinstance(fault, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            raise SwapPostponed("the live tables are in use") from fault
        raise
    return stands


async def _replace(
    connection: Connection,
    rebuild: Rebuild,
    building: Building,
    tables: Sequence[str],
    live: str,
    stands: dict[str, int],
    settings: RebuildSettings,
) -> None:
    if building.count_behind(stands) > settings.swap_events_max:
        raise SwapPostponed("the live projections have advanced")
    await building.refresh_exclusions()
    await building.fold_up_to(stands, Phase.SWAPPING)
    await connection.execute(SQL("create schema {}").format(Identifier(rebuild.replaced_schema)))
    await move_tables(connection, tables, live, rebuild.replaced_schema)
    await move_tables(connection, tables, rebuild.schema, live)
    await drop_schema(connection, rebuild.schema)
    await connection.execute(REPLACE, [rebuild.id, list(rebuild.projections)])
    await _end(connection, rebuild, "swapped")


async def _lock_live(
    connection: Connection, rebuild: Rebuild, tables: Sequence[str], live: str, settings: RebuildSettings
) -> dict[str, int]:
    await connection.execute(WAIT, [str(settings.swap_wait_ms)])
    for name in tables:
        await connection.execute(SQL("lock table {} in access exclusive mode").format(Identifier(live, name)))
    cursor = await connection.execute(STAND, [list(rebuild.projections)])
    return dict(await cursor.fetchall())


async def _end(connection: Connection, rebuild: Rebuild, state: str) -> None:
    cursor = await connection.execute(END, {"id": rebuild.id, "state": state})
    if await cursor.fetchone() is None:
        raise RebuildRefused(f"rebuild {rebuild.id} was ended by another process")


async def abandon(connection: Connection, rebuild: Rebuild) -> None:
    """Abandon a rebuild, and drop its tables. Raises RebuildRefused."""
    async with connection.transaction():
        await drop_schema(connection, rebuild.schema)
        await _end(connection, rebuild, "abandoned")
