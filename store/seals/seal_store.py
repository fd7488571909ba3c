"""Storage of seals: the tiles of the tree, and its head with the signed checkpoint."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

from store.seals.tiles import TileId, Tiles, list_edge

Connection = AsyncConnection[tuple[Any, ...]]

HEAD: Final = "select origin, size, note, sealed_at from seal_head"
"""Read what is sealed."""

TILES: Final = """
select t.level, t.number, t.hashes
  from unnest(%(levels)b::smallint[], %(numbers)b::bigint[]) as wanted (level, number)
  join seal_tiles t using (level, number)
"""
"""Read some tiles."""

EXTEND: Final = """
with moved as (
    update seal_head
       set origin = %(origin)b, size = %(size)b::bigint, note = %(note)b, sealed_at = clock_timestamp()
     where size = %(expected_size)b::bigint and origin is not distinct from %(expected_origin)b
    returning size
), written as (
    insert into seal_tiles (level, number, hashes)
    select level, number, hashes
      from moved, unnest(%(levels)b::smallint[], %(numbers)b::bigint[], %(hashes)b::bytea[])
           as changed (level, number, hashes)
        on conflict (level, number) do update set hashes = excluded.hashes
)
select size from moved
"""
"""Move the head and write the tiles that changed; nothing happens if the head is not where it is expected."""


class SealHead(Struct, frozen=True, kw_only=True):
    """The number of sealed positions, the name of the tree, and the signed checkpoint; none before the first seal."""

    origin: str | None
    size: int
    note: str | None
    sealed_at: datetime | None


async def read_seal_head(connection: Connection) -> SealHead:
    """Return the head of the seals."""
    row = await (await connection.execute(HEAD)).fetchone()
    if row is None:
        raise TypeError("the seals have no head row")
    origin, size, note, sealed_at = row
    return SealHead(origin=origin, size=size, note=note, sealed_at=sealed_at)


async def read_hashes(connection: Connection, wanted: Iterable[TileId]) -> dict[TileId, bytes]:
    """Return the hashes of the wanted tiles that there are."""
    ids = list(wanted)
    cursor = await connection.cursor(binary=True).execute(
        TILES, {"levels": [tile.level for tile in ids], "numbers": [tile.number for tile in ids]}
    )
    return {TileId(level, number): hashes for level, number, hashes in await cursor.fetchall()}


async def read_tiles(connection: Connection, wanted: Iterable[TileId], size: int) -> Tiles:
    """Return a tree of `size` leaves with the wanted tiles."""
    return Tiles(size, await read_hashes(connection, wanted))


async def read_edge(connection: Connection, size: int) -> Tiles:
    """Return the tree of `size` leaves with what is needed to extend it and to compute its root."""
    return await read_tiles(connection, list_edge(size), size)


async def extend_seals(
    connection: Connection,
    head: SealHead,
    *,
    origin: str,
    size: int,
    note: str,
    changed: Mapping[TileId, bytes],
) -> bool:
    """Write tiles and a checkpoint in one statement; return False when another process has moved the head."""
    cursor = await connection.cursor(binary=True).execute(
        EXTEND,
        {
            "origin": origin,
            "size": size,
            "note": note,
            "expected_size": head.size,
            "expected_origin": head.origin,
            "levels": [tile.level for tile in changed],
            "numbers": [tile.number for tile in changed],
            "hashes": list(changed.values()),
        },
    )
    return await cursor.fetchone() is not None
