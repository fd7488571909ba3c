"""The checks before the first append: a database that could lose an acknowledged command is refused."""

from typing import Final

from psycopg import AsyncConnection

from store.errors import UnsafeDatabase

MINIMUM_SERVER_VERSION: Final = 150000
SETTINGS: Final = """
select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') order by name
"""


async def check_durability(connection: AsyncConnection) -> None:
    """Raise UnsafeDatabase, naming every unsafe setting at once, when an acknowledgement would not mean on disk."""
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
