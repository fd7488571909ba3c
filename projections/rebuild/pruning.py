"""Drop the tables that rebuilds have replaced; until then they can be queried."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection

from projections.rebuild.generation import drop_schema
from projections.rebuild.ledger import PRUNED, REPLACED


class Replaced(Struct, frozen=True, kw_only=True):
    """The tables of some projections that a rebuild has replaced."""

    id: int
    projections: tuple[str, ...]


async def list_replaced(connection: AsyncConnection[tuple[Any, ...]]) -> list[Replaced]:
    """Return the replaced tables that still exist, oldest first."""
    cursor = await connection.execute(REPLACED)
    return [Replaced(id=number, projections=tuple(names)) for number, names in await cursor.fetchall()]


async def prune(connection: AsyncConnection[tuple[Any, ...]], kept: Sequence[Replaced]) -> None:
    """Drop replaced tables, in one transaction per rebuild."""
    for replaced in kept:
        async with connection.transaction():
            await drop_schema(connection, f"replaced_{replaced.id}")
            await connection.execute(PRUNED, {"id": replaced.id})
