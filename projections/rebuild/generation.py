"""The tables of a generation: made by the same migrations as the live ones, in a schema of their own.

So they are what a fresh database would have, down to the names of indexes, and the unchanged code of a projection
writes them, since its statements name tables without a schema. Names in SQL here are those of our own tables.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString, cast

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from projections.rebuild.ledger import INDEXES, Rebuild
from store.postgres.migrations import list_migrations

Connection = AsyncConnection[tuple[Any, ...]]

COMPONENT: Final = "projections"

LIVE: Final = """
select n.nspname, current_setting('search_path')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = 'checkpoints'::regclass
"""
"""Read the schema of the live tables, and the search path."""

TABLES: Final = """
select c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = %b::text and c.relkind = 'r'
"""
"""Read the tables of a schema."""

SECONDARY: Final = """
select i.relname::text, pg_get_indexdef(i.oid)
  from pg_index x
  join pg_class i on i.oid = x.indexrelid
  join pg_namespace n on n.oid = i.relnamespace
 where n.nspname = %b::text and not x.indisunique
 order by i.relname
"""
"""Read the indexes of a schema that enforce no constraint: only readers need them."""

SEARCH: Final = "select set_config('search_path', %b::text, %b::boolean)"
"""Set the search path, for this transaction only or for the connection."""


async def live_schema(connection: Connection) -> tuple[str, str]:
    """Return the schema of the live tables, and the search path that the connection finds them by."""
    cursor = await connection.execute(LIVE)
    row = await cursor.fetchone()
    assert row is not None  # a row of one table's oid  # noqa: S101
    return row[0], row[1]


async def look_in(connection: Connection, path: str, *, only_this_transaction: bool = False) -> None:
    """Set the search path of a connection."""
    await connection.execute(SEARCH, [path, only_this_transaction])


async def make_tables(connection: Connection, rebuild: Rebuild, tables: Sequence[str]) -> None:
    """Create the empty tables of a rebuild, in the caller's transaction.

    Indexes that only readers need are created after the rows: maintaining them would cost more than the rows.
    """
    schema = rebuild.schema
    await connection.execute(SQL("create schema {}").format(Identifier(schema)))
    await look_in(connection, schema, only_this_transaction=True)
    for migration in list_migrations(COMPONENT):
        # The text comes from our own files, so it is as trusted as a string in the source.
        await connection.execute(cast("LiteralString", migration.sql), prepare=False)
    cursor = await connection.execute(TABLES, [schema])
    others = [Identifier(schema, name) for (name,) in await cursor.fetchall() if name not in tables]
    await connection.execute(SQL("drop table {} cascade").format(SQL(", ").join(others)))
    cursor = await connection.execute(SECONDARY, [schema])
    secondary = await cursor.fetchall()
    for name, _ in secondary:
        await connection.execute(SQL("drop index {}").format(Identifier(schema, name)))
    rebuild.indexes = [definition for _, definition in secondary]


async def keep_indexes(connection: Connection, rebuild: Rebuild) -> None:
    """Record which indexes are still to be created."""
    await connection.execute(INDEXES, {"id": rebuild.id, "indexes": rebuild.indexes})


async def make_indexes(connection: Connection, rebuild: Rebuild, tables: Sequence[str]) -> None:
    """Create the deferred indexes, and analyze the tables."""
    while rebuild.indexes:
        async with connection.transaction():
            # PostgreSQL wrote this definition itself, of an index that a migration of ours had made.
            await connection.execute(cast("LiteralString", rebuild.indexes[-1]), prepare=False)
            rebuild.indexes = rebuild.indexes[:-1]
            await keep_indexes(connection, rebuild)
    for name in tables:
        await connection.execute(SQL("analyze {}").format(Identifier(rebuild.schema, name)))


async def move_tables(connection: Connection, tables: Sequence[str], source: str, target: str) -> None:
    """Move tables, with their indexes, from one schema to another, in the caller's transaction."""
    for name in tables:
        move = SQL("alter table {} set schema {}").format(Identifier(source, name), Identifier(target))
        await connection.execute(move)


async def drop_schema(connection: Connection, schema: str) -> None:
    """Drop a schema of a rebuild and everything in it, if it exists."""
    await connection.execute(SQL("drop schema if exists {} cascade").format(Identifier(schema)))
