"""Dropping the tables that rebuilds have replaced; until then they can be looked at."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection

from projections.rebuild.generation import drop_schema
from projections.rebuild.ledger import PRUNED, REPLACED


class Replaced(Struct, frozen=True, kw_only=True):
    """The former tables of some projections, which a rebuild has replaced."""

    id: int
    projections: tuple[str, ...]


async def replaced(connection: AsyncConnection[tuple[Any, ...]]) -> list[Replaced]:
    """Give what is kept, oldest first."""
    cursor = await connection.execute(REPLACED)
    return [Replaced(id=number, projections=tuple(names)) for number, names in await cursor.fetchall()]


async def prune(connection: AsyncConnection[tuple[Any, ...]], kept: Sequence[Replaced]) -> None:
    """Drop former tables, each rebuild's by itself."""
    for one in kept:
        async with connection.transaction():
            await drop_schema(connection, f"replaced_{one.id}")
            await connection.execute(PRUNED, {"id": one.id})
