"""The table of rebuilds: which there are, how far each is, and that only one process has one in hand."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection

from projections.rebuild.faults import RebuildRefused
from store.postgres.exclusive import ExclusiveRole

Connection = AsyncConnection[tuple[Any, ...]]

LOCK: Final = 1380271692
"""The kind of the role "rebuilds a projection"; see `store/postgres/exclusive.py`."""

BEGIN_CHECKPOINT: Final = "insert into checkpoints (projection) values (%b) on conflict do nothing"
"""Make the checkpoint of a projection that nobody has followed yet."""

OPEN: Final = """
select id, projections, positions, migrations, state, left_out::text, indexes
  from rebuilds
 where state = 'building' and projections && %b::text[]
 order by id
"""
"""Read the rebuilds of some projections that have not ended."""

BEGIN: Final = """
insert into rebuilds (projections, positions, migrations, state)
values (%(projections)b::text[], array_fill(0::bigint, array[cardinality(%(projections)b::text[])]),
        %(migrations)b::int, 'building')
returning id
"""
"""Begin a rebuild of some projections, from the beginning of the log."""

MOVE: Final = """
update rebuilds set positions = %(positions)b::bigint[], left_out = %(left_out)b::text::json, updated_at = now()
 where id = %(id)b::bigint and positions = %(expected)b::bigint[] and state = 'building'
returning id
"""
"""Move a rebuild from where this process left it."""

INDEXES: Final = "update rebuilds set indexes = %(indexes)b::text[], updated_at = now() where id = %(id)b::bigint"
"""Say which indexes are still to be made."""

END: Final = """
update rebuilds set state = %(state)b::text, ended_at = now(), updated_at = now()
 where id = %(id)b::bigint and state = 'building'
returning id
"""
"""End a rebuild."""

REPORT: Final = "update rebuilds set report = %(report)b::text::json where id = %(id)b::bigint"
"""Keep what a rebuild came to."""

REPLACED: Final = "select id, projections from rebuilds where state = 'swapped' and pruned_at is null order by id"
"""Read the rebuilds whose former tables are still kept."""

PRUNED: Final = "update rebuilds set pruned_at = now() where id = %(id)b::bigint"
"""Say that the former tables are gone."""

CHECKPOINTS: Final = "select projection, position from checkpoints where projection = any (%b::text[])"
"""Read where the live projections stand."""

LeftOut = dict[str, list[tuple[str, int]]]
"""What was parked or skipped as far as each projection has come: a workspace or `skipped`, and a position."""


class Rebuild(Struct, kw_only=True):
    """One rebuild, as far as this process has taken it."""

    id: int
    projections: tuple[str, ...]
    positions: dict[str, int]
    migrations: int
    left_out: LeftOut
    indexes: list[str]

    @property
    def schema(self) -> str:
        """Give the schema that its tables are made in."""
        return f"generation_{self.id}"

    @property
    def replaced_schema(self) -> str:
        """Give the schema that the live tables go to once they are replaced."""
        return f"replaced_{self.id}"


async def own(connection: Connection, names: Sequence[str]) -> None:
    """Acquire the role of rebuilding projections, until the connection ends. Raises RebuildRefused."""
    for name in sorted(names):
        if not await ExclusiveRole(LOCK, name).try_acquire(connection):
            raise RebuildRefused(f"another process is rebuilding {name} now")


async def unfinished(connection: Connection, names: Sequence[str]) -> list[Rebuild]:
    """Give the rebuilds of these projections that have begun and not ended."""
    cursor = await connection.execute(OPEN, [list(names)])
    return [_rebuild(row) for row in await cursor.fetchall()]


async def begin(connection: Connection, names: Sequence[str], *, migrations: int) -> Rebuild:
    """Write down that a rebuild begins; the caller makes its tables in the same transaction."""
    for name in names:
        await connection.execute(BEGIN_CHECKPOINT, [name])
    cursor = await connection.execute(BEGIN, {"projections": list(names), "migrations": migrations})
    row = await cursor.fetchone()
    if row is None:
        raise RebuildRefused("the rebuild was not written down")
    return Rebuild(
        id=row[0],
        projections=tuple(names),
        positions=dict.fromkeys(names, 0),
        migrations=migrations,
        left_out={},
        indexes=[],
    )


async def checkpoints(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Give where the live projections stand."""
    cursor = await connection.execute(CHECKPOINTS, [list(names)])
    return dict.fromkeys(names, 0) | dict(await cursor.fetchall())


def as_moved(rebuild: Rebuild, positions: Mapping[str, int], left_out: LeftOut) -> dict[str, Any]:
    """Give the parameters of MOVE."""
    return {
        "id": rebuild.id,
        "expected": [rebuild.positions[name] for name in rebuild.projections],
        "positions": [positions[name] for name in rebuild.projections],
        "left_out": msgspec.json.encode(left_out).decode(),
    }


def _rebuild(row: tuple[Any, ...]) -> Rebuild:
    number, names, positions, migrations, _state, left_out, indexes = row
    return Rebuild(
        id=number,
        projections=tuple(names),
        positions=dict(zip(names, positions, strict=True)),
        migrations=migrations,
        left_out=msgspec.json.decode(left_out, type=LeftOut),
        indexes=list(indexes),
    )
