"""The checks before the first append: a database that could lose an acknowledged command is refused."""

from typing import Final

from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction

from store.errors import UnsafeDatabase

MINIMUM_SERVER_VERSION: Final = 150000
SETTINGS: Final = """
select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') order by name
"""


IS_READ_ONLY: Final = "select current_setting('transaction_read_only')::boolean"

WRITE_TRIAL: Final = """
create temporary table callsheet_write_trial on commit drop as
select repeat(md5(n::text), 32) as filler from generate_series(1, 1024) as n
"""
"""Write a megabyte and the catalogue, and drop it again: this fails where a disk is full and a read would not."""


async def check_can_write(connection: AsyncConnection, *, thoroughly: bool) -> None:
    """Raise ReadOnlySqlTransaction, or what a write meets: `thoroughly` writes a megabyte, after one was refused."""
    row = await (await connection.execute(IS_READ_ONLY)).fetchone()
    if row is None or row[0]:
        raise ReadOnlySqlTransaction("the server is read-only")
    if thoroughly:
        await connection.execute(WRITE_TRIAL, prepare=False)


async def check_durability(connection: AsyncConnection) -> None:
    """Raise UnsafeDatabase with all unsafe settings if a commit could be acknowledged before it is on disk."""
    cursor = await connection.execute(SETTINGS)
    off = [name for name, setting in await cursor.fetchall() if setting == "off"]
    if off:
        message = f"refusing to start: {', '.join(off)} is off, so that a crash could lose acknowledged commands"
        raise UnsafeDatabase(message)
    check_version(connection.info.server_version)


def check_version(version: int) -> None:
    """Raise UnsafeDatabase for a server, as libpq numbers them, that is older than this project is tested with."""
    if version < MINIMUM_SERVER_VERSION:
        message = f"refusing to start: PostgreSQL {version // 10000} is older than 15"
        raise UnsafeDatabase(message)
