"""Standing by for a lock: the session of a holder that says nothing is ended, and of no other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import pytest
from psycopg import AsyncConnection

from store.postgres.lock_holder import Standby
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.waiting import eventually

LOCK: Final = 1886547818
HUNG_SECONDS: Final = 0.2
OWN: Final = b"select pg_advisory_lock(1886547818, hashtext('runs'))"


@asynccontextmanager
async def session(database: str, name: str) -> AsyncGenerator[AsyncConnection[Any]]:
    connection = await AsyncConnection.connect(database, autocommit=True, application_name=name)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held(database: str) -> AsyncGenerator[tuple[AsyncConnection[Any], AsyncConnection[Any]]]:
    """Give a session that holds the lock of runs, and one that stands by."""
    async with session(database, "the holder") as holder, session(database, "another") as other:
        await holder.execute(OWN)
        yield holder, other


async def ended(standby: Standby, connection: AsyncConnection[Any], positions: list[int]) -> str | None:
    """Look over and over while the holder stands at one position after the other, for three times the bound."""
    until = asyncio.get_running_loop().time() + 3 * HUNG_SECONDS
    while asyncio.get_running_loop().time() < until:
        positions.append(positions.pop(0))
        if (name := await standby.look(connection, positions[0], 9)) is not None:
            return name
        await asyncio.sleep(HUNG_SECONDS / 10)
    return None


@EVERY_POSTGRES
async def test_the_session_of_a_holder_that_says_nothing_is_ended(empty_database: str) -> None:
    async with held(empty_database) as (holder, other):
        assert await ended(Standby(LOCK, "runs", HUNG_SECONDS), other, [5]) == "the holder"
        await eventually(lambda: owns(other), what="the lock is free")
        with pytest.raises(psycopg.OperationalError):
            await holder.execute(b"select 1")


async def owns(connection: AsyncConnection[Any]) -> bool:
    row = await (await connection.execute(OWN.replace(b"advisory", b"try_advisory"))).fetchone()
    return row == (True,)


async def test_a_holder_within_a_transaction_is_ended_with_it(empty_database: str) -> None:
    async with held(empty_database) as (holder, other):
        await other.execute(b"create table rows (id int)")
        await holder.execute(b"begin; insert into rows values (1)")
        assert await ended(Standby(LOCK, "runs", HUNG_SECONDS), other, [5]) == "the holder"
        await eventually(lambda: owns(other), what="the lock is free")
        assert await (await other.execute(b"select count(*) from rows")).fetchone() == (0,)


@pytest.mark.parametrize("positions", [[9], [5, 6]], ids=["has nothing to do", "goes on"])
async def test_a_holder_is_left_alone_that(empty_database: str, positions: list[int]) -> None:
    async with held(empty_database) as (holder, other):
        assert await ended(Standby(LOCK, "runs", HUNG_SECONDS), other, positions) is None
        await holder.execute(b"select 1")


async def test_a_holder_that_executes_a_statement_is_left_alone(empty_database: str) -> None:
    async with held(empty_database) as (holder, other):
        busy = asyncio.create_task(holder.execute(b"select pg_sleep(0.9)"))
        assert await ended(Standby(LOCK, "runs", HUNG_SECONDS), other, [5]) is None
        await busy


async def test_holders_of_other_locks_are_left_alone(empty_database: str) -> None:
    async with held(empty_database) as (holder, other):
        assert await ended(Standby(LOCK, "tasks", HUNG_SECONDS), other, [5]) is None
        assert await ended(Standby(LOCK + 1, "runs", HUNG_SECONDS), other, [5]) is None
        await holder.execute(b"select 1")


async def test_work_that_came_while_who_stands_by_was_away_is_not_held_against_the_holder(empty_database: str) -> None:
    async with held(empty_database) as (holder, other):
        standby = Standby(LOCK, "runs", HUNG_SECONDS)
        assert await standby.look(other, 9, 9) is None
        await other.execute(b"select pg_sleep(0.5)")
        assert await standby.look(other, 9, 10) is None
        await holder.execute(b"select 1")
