"""A role has one holder: standbys take over from one that dies, hangs or loses its connection, and its writes end."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from store.postgres.exclusive import ExclusiveRole, HolderWatch, Progress, RoleBounds
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.role_holder import LOCK, ROLE_NAME, read_progress
from tests.support.waiting import eventually, wait_until_stopped

TOP: Final = Path(__file__).parents[3]
HUNG_SECONDS: Final = 0.2
NEVER_HUNG: Final = RoleBounds(standby_seconds=0.05, hung_seconds=3600)
QUICK: Final = RoleBounds(standby_seconds=0.05, hung_seconds=HUNG_SECONDS)
HOLD: Final = b"select pg_advisory_lock(1886547818, hashtext('runs'))"
WORK: Final = Progress(5, 9)
CREATE_PROGRESS: Final = b"create table progress as select 5 as position, 9 as head"
MOVE: Final = "update progress set position = position + 1 where position = 5"


@asynccontextmanager
async def connect(database: str, name: str) -> AsyncGenerator[AsyncConnection[Any]]:
    connection = await AsyncConnection.connect(database, autocommit=True, application_name=name)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def connect_both(database: str) -> AsyncGenerator[tuple[AsyncConnection[Any], AsyncConnection[Any]]]:
    """Yield a session that holds the role of runs, and one that stands by."""
    async with connect(database, "the holder") as holder, connect(database, "the standby") as standby:
        await holder.execute(HOLD)
        yield holder, standby


class HolderProcess:
    """A process that holds the role; see `tests/support/store/role_holder.py`."""

    def __init__(self, process: Process) -> None:
        """Control a process that was started."""
        self.process = process

    async def read_line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def execute(self, statement: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{statement}\n".encode())
        await self.process.stdin.drain()

    async def stop(self) -> None:
        """Stop it (SIGSTOP), and wait until it is stopped."""
        self.process.send_signal(signal.SIGSTOP)
        await wait_until_stopped(self.process)


@asynccontextmanager
async def start_holder(database: str, name: str, hung_seconds: float = 3600) -> AsyncGenerator[HolderProcess]:
    """Start a process that takes the role as soon as it can."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.store.role_holder",
        make_conninfo(database, application_name=name),
        str(hung_seconds),
        stdin=PIPE,
        stdout=PIPE,
        cwd=TOP,
    )
    try:
        yield HolderProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def try_acquire(connection: AsyncConnection[Any]) -> bool:
    return await ExclusiveRole(LOCK, ROLE_NAME).try_acquire(connection)


def ignore(_session: str, _position: int) -> None:
    """Accept that a session was ended."""


async def test_of_two_rivals_one_acquires_the_role_and_the_other_when_the_first_has_closed(empty_database: str) -> None:
    async with connect(empty_database, "the second") as second:
        async with connect(empty_database, "the first") as first:
            assert [await try_acquire(first), await try_acquire(second)] == [True, False]
            assert await ExclusiveRole(LOCK, "tasks").try_acquire(second)
            assert await ExclusiveRole(LOCK + 1, ROLE_NAME).try_acquire(second)
        await eventually(lambda: try_acquire(second), what="the role is free")


async def test_many_rivals_hold_the_role_one_after_the_other(empty_database: str) -> None:
    holders, most = 0, 0

    async def hold_once() -> None:
        nonlocal holders, most
        async with ExclusiveRole(LOCK, ROLE_NAME, NEVER_HUNG).hold(empty_database, read_progress, ignore) as held:
            holders += 1
            most = max(most, holders)
            await held.execute(b"update progress set position = position + 1")
            holders -= 1

    async with connect(empty_database, "the observer") as observer:
        await observer.execute(CREATE_PROGRESS)
        await asyncio.gather(*(hold_once() for _ in range(8)))
        assert (await read_progress(observer)).position == 13
    assert most == 1


async def test_a_standby_takes_over_from_a_holder_that_is_killed(empty_database: str) -> None:
    async with connect(empty_database, "the observer") as observer, start_holder(empty_database, "the first") as first:
        await observer.execute(CREATE_PROGRESS)
        assert await first.read_line() == "holding"
        async with start_holder(empty_database, "the second") as second:
            first.process.kill()
            assert await second.read_line() == "holding"


@EVERY_POSTGRES
async def test_a_standby_ends_a_holder_that_is_stopped_and_what_it_had_not_committed(empty_database: str) -> None:
    async with connect(empty_database, "the observer") as observer, start_holder(empty_database, "the first") as first:
        await observer.execute(CREATE_PROGRESS)
        assert await first.read_line() == "holding"
        for statement in ("begin", MOVE):
            await first.execute(statement)
            await first.read_line()
        await first.stop()
        async with start_holder(empty_database, "the second", HUNG_SECONDS) as second:
            assert await second.read_line() == "ended the first"
            assert await second.read_line() == "holding"
            assert await read_progress(observer) == WORK
            await second.execute(MOVE)
            assert await second.read_line() == "1"
            await first.execute("commit")
            first.process.send_signal(signal.SIGCONT)
            assert await first.read_line() == "refused"
            assert (await read_progress(observer)).position == 6


async def test_a_holder_whose_connection_is_lost_cannot_write_and_stands_by_again(empty_database: str) -> None:
    async with connect(empty_database, "the observer") as observer, start_holder(empty_database, "the first") as first:
        await observer.execute(CREATE_PROGRESS)
        assert await first.read_line() == "holding"
        async with start_holder(empty_database, "the second") as second:
            await observer.execute(
                b"select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'the first'"
            )
            assert await second.read_line() == "holding"
            await first.execute(MOVE)
            assert await first.read_line() == "refused"
            await second.execute(MOVE)
            assert await second.read_line() == "1"
            second.process.kill()
            assert await first.read_line() == "holding"


async def test_a_position_that_another_process_has_moved_is_not_moved_again(empty_database: str) -> None:
    async with connect(empty_database, "the observer") as observer, start_holder(empty_database, "the first") as first:
        await observer.execute(CREATE_PROGRESS)
        assert await first.read_line() == "holding"
        await observer.execute(MOVE.encode())
        await first.execute(MOVE)
        assert await first.read_line() == "0"


async def test_a_standby_that_is_cancelled_leaves_no_session(empty_database: str) -> None:
    async with connect_both(empty_database) as (holder, observer):
        await observer.execute(CREATE_PROGRESS)
        role = ExclusiveRole(LOCK, ROLE_NAME, QUICK)
        asked = asyncio.Event()

        async def read_and_report(connection: AsyncConnection[Any]) -> Progress:
            asked.set()
            return await read_progress(connection)

        async def stand_by() -> None:
            named = make_conninfo(empty_database, application_name="cancelled")
            async with role.hold(named, read_and_report, ignore):
                raise AssertionError("the role was taken")

        standing_by = asyncio.create_task(stand_by())
        await asked.wait()
        standing_by.cancel()
        with pytest.raises(asyncio.CancelledError):
            await standing_by
        await eventually(lambda: has_no_session(observer, "cancelled"), what="the session has ended")
        await holder.execute(b"select 1")


async def has_no_session(connection: AsyncConnection[Any], name: str) -> bool:
    cursor = await connection.execute("select from pg_stat_activity where application_name = %s", [name])
    return await cursor.fetchone() is None


async def check_repeatedly(watch: HolderWatch, connection: AsyncConnection[Any], positions: list[int]) -> str | None:
    """Check while the holder is at one position after the other, for three times the bound."""
    until = asyncio.get_running_loop().time() + 3 * HUNG_SECONDS
    while asyncio.get_running_loop().time() < until:
        positions.append(positions.pop(0))
        if (ended := await watch.check(connection, Progress(positions[0], 9))) is not None:
            return ended
        await asyncio.sleep(HUNG_SECONDS / 10)
    return None


@EVERY_POSTGRES
async def test_the_session_of_an_idle_holder_with_work_is_ended(empty_database: str) -> None:
    async with connect_both(empty_database) as (holder, standby):
        assert await check_repeatedly(HolderWatch(LOCK, ROLE_NAME, HUNG_SECONDS), standby, [5]) == "the holder"
        await eventually(lambda: try_acquire(standby), what="the role is free")
        with pytest.raises(psycopg.OperationalError):
            await holder.execute(b"select 1")


@pytest.mark.parametrize("positions", [[9], [5, 6]], ids=["without work", "that makes progress"])
async def test_a_holder_is_left_alone(empty_database: str, positions: list[int]) -> None:
    async with connect_both(empty_database) as (holder, standby):
        assert await check_repeatedly(HolderWatch(LOCK, ROLE_NAME, HUNG_SECONDS), standby, positions) is None
        await holder.execute(b"select 1")


async def test_a_holder_that_executes_a_statement_is_left_alone(empty_database: str) -> None:
    async with connect_both(empty_database) as (holder, standby):
        statement = asyncio.create_task(holder.execute(b"select pg_sleep(0.9)"))
        assert await check_repeatedly(HolderWatch(LOCK, ROLE_NAME, HUNG_SECONDS), standby, [5]) is None
        await statement


async def test_holders_of_other_roles_are_left_alone(empty_database: str) -> None:
    async with connect_both(empty_database) as (holder, standby):
        assert await check_repeatedly(HolderWatch(LOCK, "tasks", HUNG_SECONDS), standby, [5]) is None
        assert await check_repeatedly(HolderWatch(LOCK + 1, ROLE_NAME, HUNG_SECONDS), standby, [5]) is None
        await holder.execute(b"select 1")


async def test_work_that_arrived_during_a_pause_of_the_standby_is_not_held_against_the_holder(
    empty_database: str,
) -> None:
    async with connect_both(empty_database) as (holder, standby):
        watch = HolderWatch(LOCK, ROLE_NAME, HUNG_SECONDS)
        assert await watch.check(standby, Progress(9, 9)) is None
        await standby.execute(b"select pg_sleep(0.5)")
        assert await watch.check(standby, Progress(9, 10)) is None
        await holder.execute(b"select 1")
