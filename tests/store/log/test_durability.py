"""Settings of the server under which an acknowledged command could be lost are refused, by name."""

import asyncio

import psycopg
import pytest

from store.errors import UnsafeDatabase
from store.log.durability import check_durability, check_version
from store.log.log import Log
from store.postgres.connections import connect
from store.postgres.migrations import migrate
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES, PostgresForTests
from tests.support.waiting import eventually


def set_server(server: PostgresForTests, **settings: str) -> None:
    """Change settings of the server's own file, and let it read them again."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"alter system set {name} = {value}".encode())
        connection.execute("select pg_reload_conf()")


async def wait_until_shown(server: PostgresForTests, name: str, value: str) -> None:
    async def is_shown() -> bool:
        async with await connect(server.conninfo) as connection:
            return await (await connection.execute(f"show {name}".encode())).fetchone() == (value,)

    await eventually(is_shown, what=f"{name} is {value}")


def test_a_server_older_than_the_oldest_we_know_is_refused() -> None:
    with pytest.raises(UnsafeDatabase, match="PostgreSQL 14 is older than 15"):
        check_version(140_012)
    check_version(150_000)


@EVERY_POSTGRES
async def test_every_unsafe_setting_is_named_at_once(own_postgres: PostgresForTests) -> None:
    set_server(own_postgres, fsync="off", full_page_writes="off", synchronous_commit="off")
    await wait_until_shown(own_postgres, "synchronous_commit", "off")
    with pytest.raises(UnsafeDatabase, match=r"fsync, full_page_writes, synchronous_commit is off"):
        async with Log(own_postgres.conninfo, StoreSettings()).open_readers():
            pass


async def test_a_safe_server_is_taken(database: str) -> None:
    async with await connect(database) as connection:
        await check_durability(connection)


async def test_a_setting_of_the_role_or_the_connection_counts_as_well(database: str) -> None:
    async with await connect(f"{database} options='-c synchronous_commit=off'") as connection:
        with pytest.raises(UnsafeDatabase, match="synchronous_commit is off"):
            await check_durability(connection)


async def test_a_server_that_comes_back_unsafe_gets_no_more_appends(own_postgres: PostgresForTests) -> None:
    await migrate(own_postgres.conninfo, ["store"])
    log = Log(own_postgres.conninfo, StoreSettings())
    async with log.open_readers():
        serving = asyncio.create_task(log.run())
        await log.wait_until_connected()
        set_server(own_postgres, full_page_writes="off")
        await wait_until_shown(own_postgres, "full_page_writes", "off")
        await asyncio.to_thread(own_postgres.crash)
        await asyncio.to_thread(own_postgres.start)
        with pytest.raises(UnsafeDatabase, match="full_page_writes is off"):
            await serving
