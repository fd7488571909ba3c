"""Migrations: applied once, in order, by one process at a time, and never to a database that is ahead of us."""

import asyncio
import subprocess
import sys

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from store.errors import Unavailable, UnsafeDatabase
from store.log.log import Log
from store.postgres.connections import connect
from store.postgres.migrations import check_schema, list_migrations, migrate
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES

COUNT = len(list_migrations("store"))
MIGRATE = """
import asyncio, sys
from store.postgres.migrations import migrate
print(asyncio.run(migrate(sys.argv[1], ["store"])))
"""


def change(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


async def check_migrations(conninfo: str) -> None:
    async with await connect(conninfo) as connection:
        await check_schema(connection, ["store"])


def test_the_files_are_numbered_from_one_without_a_gap() -> None:
    assert [migration.number for migration in list_migrations("store")] == list(range(1, COUNT + 1))


@EVERY_POSTGRES
async def test_an_empty_database_is_brought_up_once(empty_database: str) -> None:
    assert await migrate(empty_database, ["store"]) == COUNT
    assert await migrate(empty_database, ["store"]) == 0
    await check_migrations(empty_database)


async def test_a_database_that_was_never_migrated_is_refused_with_the_command_to_run(empty_database: str) -> None:
    with pytest.raises(UnsafeDatabase, match="lacks migration 1 of store: run `callsheet migrate`"):
        async with Log(empty_database, StoreSettings()).open_readers():
            pass


async def test_a_database_that_lacks_the_last_migration_is_refused(database: str) -> None:
    change(database, "delete from schema_migrations where number = (select max(number) from schema_migrations)")
    with pytest.raises(UnsafeDatabase, match=f"lacks migration {COUNT}"):
        await check_migrations(database)


async def test_a_newer_database_is_neither_used_nor_migrated(database: str) -> None:
    change(database, "insert into schema_migrations values ('store', 9999, 'future', 'x')")
    with pytest.raises(UnsafeDatabase, match="migration 9999 of store, newer than this Callsheet knows"):
        await check_migrations(database)
    with pytest.raises(UnsafeDatabase, match="newer than this Callsheet knows"):
        await migrate(database, ["store"])


async def test_a_migration_that_was_edited_after_it_was_applied_is_refused(database: str) -> None:
    change(database, "update schema_migrations set checksum = 'other' where number = 1")
    with pytest.raises(UnsafeDatabase, match="migration 1 of store was edited"):
        await check_migrations(database)
    with pytest.raises(UnsafeDatabase, match="migration 1 of store was edited"):
        await migrate(database, ["store"])


async def test_two_processes_that_migrate_at_once_apply_each_migration_once(empty_database: str) -> None:
    def other_process() -> int:
        command = (sys.executable, "-c", MIGRATE, empty_database)
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    applied = await asyncio.gather(*(asyncio.to_thread(other_process) for _ in range(2)))
    assert sorted(applied) == [0, COUNT]
    await check_migrations(empty_database)


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database: str) -> None:
    change(empty_database, "create table contents ()")  # the last table of the first migration
    with pytest.raises(psycopg.errors.DuplicateTable):
        await migrate(empty_database, ["store"])
    change(empty_database, "drop table contents")
    assert await migrate(empty_database, ["store"]) == COUNT


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("default_transaction_read_only=on", "cannot execute CREATE TABLE"),
        ("search_path=pg_catalog", "permission denied"),
        ("search_path=nowhere", "no schema has been selected"),
    ],
)
async def test_a_database_that_takes_no_changes_from_us_is_said_in_its_words(
    empty_database: str, setting: str, reason: str
) -> None:
    with pytest.raises(Unavailable, match=f"cannot be migrated: {reason}"):
        await migrate(make_conninfo(empty_database, options=f"-c {setting}"), ["store"])
