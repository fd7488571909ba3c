"""The migrations: numbered SQL files, each applied once, in order, under an advisory lock, and never edited."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, LiteralString, cast

import structlog
from msgspec import Struct
from psycopg import AsyncConnection, OperationalError, ProgrammingError
from psycopg.errors import InsufficientPrivilege, InvalidSchemaName, LockNotAvailable, ReadOnlySqlTransaction

from store.errors import Unavailable, UnsafeDatabase
from store.postgres.connections import Connection, add_network_bounds, connect, translate_outages
from store.postgres.suitability import check_encoding, check_sessions

LOCK_KEY: Final = 0x63_61_6C_6C  # "call": one migration at a time on a database

LOCK_SECONDS: Final = 5
"""How long one attempt waits for another process that migrates; then the wait is logged."""

LOCK_SECONDS_MAX: Final = 600

CREATE_TABLE: Final = """
create table if not exists schema_migrations (
    component   text not null,
    number      int not null,
    name        text not null,
    checksum    text not null,
    applied_at  timestamptz not null default now(),
    primary key (component, number)
)
"""

MIGRATED: Final = "select where to_regclass('schema_migrations') is not null"
"""Read whether any migration was ever applied."""


class Migration(Struct, frozen=True, kw_only=True):
    """One numbered SQL file of a component (`store`, `projections`)."""

    component: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the SQL, which detects edits of applied files."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def list_migrations(component: str) -> tuple[Migration, ...]:
    """Read the numbered files `NNNN_name.sql` in the `sql` folder of a top-level package, in order."""
    folder = files(component).joinpath("sql")
    named = sorted((entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(Migration(component=component, number=int(name[:4]), name=name[5:-4], sql=sql) for name, sql in named)


async def migrate(conninfo: str, components: Sequence[str]) -> int:
    """Apply the missing migrations and return their number.

    Raises UnsafeDatabase when the database is newer than this code, when an applied migration was edited, when its
    encoding is not UTF-8, or when a pooler before it breaks sessions;
    Unavailable, in PostgreSQL's words, when there is no connection to it, or it takes no changes from us.
    """
    with translate_outages():
        return await _migrate_safely(conninfo, components)


async def _migrate_safely(conninfo: str, components: Sequence[str]) -> int:
    async with await _open_connection(conninfo) as connection:
        check_encoding(connection)
        await check_sessions(conninfo)
        try:
            return await _migrate(connection, components)
        except (InsufficientPrivilege, InvalidSchemaName, ReadOnlySqlTransaction) as fault:
            raise Unavailable(f"the database cannot be migrated: {fault.diag.message_primary}") from fault


async def _migrate(connection: AsyncConnection[Any], components: Sequence[str]) -> int:
    await _lock(connection)
    await connection.execute(CREATE_TABLE, prepare=False)
    applied = 0
    for component in components:
        known = list_migrations(component)
        done = await _read_applied(connection, component)
        check_history(component, known, done)
        for migration in known[len(done) :]:
            await _apply(connection, migration)
            applied += 1
    return applied


async def _lock(connection: AsyncConnection[Any]) -> None:
    """Wait until no other process migrates. Raises Unavailable after 10 minutes, when that process may be cut off."""
    await connection.execute(f"set lock_timeout = {LOCK_SECONDS * 1_000}".encode())
    for waited in range(0, LOCK_SECONDS_MAX, LOCK_SECONDS):
        try:
            await connection.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        except LockNotAvailable:
            structlog.get_logger("store").warning("migrations.waiting", seconds=waited + LOCK_SECONDS)
            continue
        await connection.execute("set lock_timeout = 0")
        return
    raise Unavailable(
        f"another session migrates the database since over {LOCK_SECONDS_MAX} s: look for it in pg_stat_activity"
    )


async def _open_connection(conninfo: str) -> Connection:
    try:
        return await connect(add_network_bounds(conninfo))
    except ProgrammingError:  # psycopg's message quotes the string, which may contain a password
        raise Unavailable("DATABASE_URL is neither a URL nor a connection string of PostgreSQL") from None
    except OperationalError as fault:
        raise Unavailable(f"the database cannot be reached: {fault}") from fault


async def check_schema(connection: AsyncConnection, components: Sequence[str]) -> None:
    """Raise UnsafeDatabase unless exactly the migrations that this code knows have been applied."""
    for component in components:
        known = list_migrations(component)
        done = await _read_applied(connection, component)
        check_history(component, known, done)
        if len(done) < len(known):
            message = f"the database lacks migration {known[len(done)].number} of {component}: run `callsheet migrate`"
            raise UnsafeDatabase(message)


def check_history(component: str, known: Sequence[Migration], done: Sequence[tuple[int, str]]) -> None:
    """Raise UnsafeDatabase if the applied migrations are not the first ones that this code knows."""
    if len(done) > len(known):
        message = f"the database is at migration {done[-1][0]} of {component}, newer than this Callsheet knows"
        raise UnsafeDatabase(message)
    for migration, (number, checksum) in zip(known, done, strict=False):
        if (migration.number, migration.checksum) != (number, checksum):
            message = f"migration {number} of {component} was edited after it had been applied"
            raise UnsafeDatabase(message)


async def _read_applied(connection: AsyncConnection, component: str) -> list[tuple[int, str]]:
    if await (await connection.execute(MIGRATED)).fetchone() is None:
        return []
    cursor = await connection.execute(
        "select number, checksum from schema_migrations where component = %s order by number", [component]
    )
    return cast("list[tuple[int, str]]", await cursor.fetchall())


async def _apply(connection: AsyncConnection, migration: Migration) -> None:
    async with connection.transaction():
        # The text comes from our own files, so it is as trusted as a string in the source.
        await connection.execute(cast("LiteralString", migration.sql), prepare=False)
        await connection.execute(
            "insert into schema_migrations (component, number, name, checksum) values (%s, %s, %s, %s)",
            [migration.component, migration.number, migration.name, migration.checksum],
        )
