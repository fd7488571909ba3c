"""The table of rebuilds and their progress; one process at a time rebuilds a projection."""

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
"""Create the checkpoint of a projection without one."""

OPEN: Final = """
select id, projections, positions, migrations, state, left_out::text, indexes
  from rebuilds
 where state = 'building' and projections && %b::text[]
 order by id
"""
"""Read the unfinished rebuilds of some projections."""

BEGIN: Final = """
insert into rebuilds (projections, positions, migrations, state)
values (%(projections)b::text[], array_fill(0::bigint, array[cardinality(%(projections)b::text[])]),
        %(migrations)b::int, 'building')
returning id
"""
"""Insert a rebuild of some projections, at the start of the log."""

MOVE: Final = """
update rebuilds set positions = %(positions)b::bigint[], left_out = %(left_out)b::text::json, updated_at = now()
 where id = %(id)b::bigint and positions = %(expected)b::bigint[] and state = 'building'
returning id
"""
"""Move a rebuild from where this process left it; it matches no row when another process has moved it."""

INDEXES: Final = "update rebuilds set indexes = %(indexes)b::text[], updated_at = now() where id = %(id)b::bigint"
"""Record which indexes are still to be created."""

END: Final = """
update rebuilds set state = %(state)b::text, ended_at = now(), updated_at = now()
 where id = %(id)b::bigint and state = 'building'
returning id
"""
"""End a rebuild."""

REPORT: Final = "update rebuilds set report = %(report)b::text::json where id = %(id)b::bigint"
"""Store the report of a rebuild."""

REPLACED: Final = "select id, projections from rebuilds where state = 'swapped' and pruned_at is null order by id"
"""Read the rebuilds whose replaced tables still exist."""

PRUNED: Final = "update rebuilds set pruned_at = now() where id = %(id)b::bigint"
"""Record that the replaced tables were dropped."""

CHECKPOINTS: Final = "select projection, position from checkpoints where projection = any (%b::text[])"
"""Read the checkpoints of the live projections."""

Exclusions = dict[str, list[tuple[str, int]]]
"""Parked and skipped facts up to the position of each projection: `parked <workspace>` or `skipped`, and a position."""


class Rebuild(Struct, kw_only=True):
    """One rebuild, with its progress as this process knows it."""

    id: int
    projections: tuple[str, ...]
    positions: dict[str, int]
    migrations: int
    exclusions: Exclusions
    indexes: list[str]

    @property
    def schema(self) -> str:
        """Return the schema of its tables."""
        return f"generation_{self.id}"

    @property
    def replaced_schema(self) -> str:
        """Return the schema that replaced live tables are moved to."""
        return f"replaced_{self.id}"


async def acquire_roles(connection: Connection, names: Sequence[str]) -> None:
    """Acquire the role of rebuilding projections, until the connection ends. Raises RebuildRefused."""
    for name in sorted(names):
        if not await ExclusiveRole(LOCK, name).try_acquire(connection):
            raise RebuildRefused(f"another process is rebuilding {name} now")


async def find_unfinished(connection: Connection, names: Sequence[str]) -> list[Rebuild]:
    """Return the unfinished rebuilds of these projections."""
    cursor = await connection.execute(OPEN, [list(names)])
    return [_rebuild(row) for row in await cursor.fetchall()]


async def insert_rebuild(connection: Connection, names: Sequence[str], *, migrations: int) -> Rebuild:
    """Insert a rebuild; the caller creates its tables in the same transaction."""
    for name in names:
        await connection.execute(BEGIN_CHECKPOINT, [name])
    cursor = await connection.execute(BEGIN, {"projections": list(names), "migrations": migrations})
    row = await cursor.fetchone()
    if row is None:
        raise RebuildRefused("the rebuild was not recorded")
    return Rebuild(
        id=row[0],
        projections=tuple(names),
        positions=dict.fromkeys(names, 0),
        migrations=migrations,
        exclusions={},
        indexes=[],
    )


async def read_checkpoints(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the checkpoints of the live projections; 0 for one without."""
    cursor = await connection.execute(CHECKPOINTS, [list(names)])
    return dict.fromkeys(names, 0) | dict(await cursor.fetchall())


def build_move(rebuild: Rebuild, positions: Mapping[str, int], left_out: Exclusions) -> dict[str, Any]:
    """Return the parameters of MOVE."""
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
        exclusions=msgspec.json.decode(left_out, type=Exclusions),
        indexes=list(indexes),
    )
