"""Connection strings with bounds, and sessions that say when the database cannot be asked."""

import asyncio
from contextlib import suppress

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from store.errors import Unavailable
from store.postgres.connections import Sessions, add_bounds, cancellable, connect, open_connection


@pytest.mark.parametrize(
    "given",
    [
        "dbname=c options='-c search_path=callsheet -c work_mem=8MB'",
        "postgresql:///c?options=-c%20search_path%3Dcallsheet%20-c%20work_mem%3D8MB",
    ],
)
def test_options_of_the_connection_string_are_kept_before_ours(given: str) -> None:
    options = conninfo_to_dict(add_bounds(given, statement_timeout_ms=700, application_name="a"))["options"]
    assert options == (
        "-c search_path=callsheet -c work_mem=8MB -c statement_timeout=700 -c idle_in_transaction_session_timeout=60000"
        " -c timezone=UTC -c client_min_messages=warning"
    )


def test_bounds_that_the_connection_string_sets_itself_stand() -> None:
    bounds = conninfo_to_dict(add_bounds("dbname=c connect_timeout=2", statement_timeout_ms=1, application_name="a"))
    assert bounds["connect_timeout"] == "2"
    assert bounds["tcp_user_timeout"] == "6000"


async def test_every_session_is_bounded_in_time(database: str) -> None:
    conninfo = add_bounds(database, statement_timeout_ms=50, application_name="a-test")
    sessions = Sessions(conninfo, most=1, most_waiting=1, timeout_seconds=5)
    async with sessions.open():
        assert await sessions.one("select current_setting('application_name')", None) == ("a-test",)
        with pytest.raises(Unavailable):
            await sessions.one("select pg_sleep(10)", None)
        assert await sessions.one("select 1", None) == (1,)


async def test_the_warning_of_a_cancelled_wait_for_a_standby_cannot_be_hidden(database: str) -> None:
    hiding = make_conninfo(database, options="-c client_min_messages=error")
    bounded = add_bounds(hiding, statement_timeout_ms=1_000, application_name="test")
    async with open_connection(bounded) as connection:
        assert await (await connection.execute("show client_min_messages")).fetchone() == ("warning",)


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    sessions = Sessions("host=/nowhere dbname=c connect_timeout=1", most=1, most_waiting=1, timeout_seconds=0.1)
    with pytest.raises(Unavailable):
        async with sessions.open():
            pass


async def test_connections_that_died_while_they_were_idle_are_replaced_without_a_word(database: str) -> None:
    sessions = Sessions(database, most=4, most_waiting=4, timeout_seconds=5)
    async with sessions.open():
        await asyncio.gather(*(sessions.one("select pg_sleep(0.1)", None) for _ in range(4)))
        async with await connect(database) as other:
            await other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        assert await sessions.one("select 1", None) == (1,)


async def test_a_cancellation_that_comes_with_the_result_is_not_lost() -> None:
    """`asyncio.wait_for` alone loses it before Python 3.12, and whoever cancelled then waits for ever."""
    answered = asyncio.Event()

    async def asks() -> None:
        with cancellable():
            await asyncio.wait_for(answered.wait(), 60)

    asking = asyncio.create_task(asks())
    await run_loop_turns()
    answered.set()
    await asyncio.sleep(0)  # the answer is there, and nobody was told yet
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_no_statement_loses_a_cancellation_whenever_it_comes(database: str) -> None:
    async with open_connection(database) as connection:

        async def asks_on() -> None:
            while True:
                await connection.execute("select 1")

        for turns in range(60):
            asking = asyncio.create_task(asks_on())
            await run_loop_turns(turns)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asking, 10)


async def test_a_cancellation_that_comes_with_a_failure_is_not_lost() -> None:
    failing = asyncio.get_running_loop().create_future()

    async def asks() -> None:
        with cancellable():
            await asyncio.wait_for(failing, 60)

    asking = asyncio.create_task(asks())
    await run_loop_turns()
    failing.set_exception(OSError("gone"))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_no_statement_loses_a_cancellation_while_the_connections_of_its_pool_die(database: str) -> None:
    sessions = Sessions(database, most=3, most_waiting=9, timeout_seconds=5)
    over = asyncio.Event()

    async def asks_on() -> None:
        while not over.is_set():
            with suppress(Unavailable):
                await sessions.rows("select 1", None)

    async with sessions.open(), open_connection(database) as other:
        for turns in range(60):
            await asyncio.gather(*(sessions.rows("select pg_sleep(0.002)", None) for _ in range(3)))
            await other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            asking = asyncio.create_task(asks_on())
            await run_loop_turns(turns)
            asking.cancel()
            done, _ = await asyncio.wait({asking}, timeout=5)
            if not done:
                over.set()
            await asyncio.wait({asking})
            assert asking.cancelled()


async def test_a_connection_whose_borrower_is_cancelled_while_giving_it_back_is_not_lost(database: str) -> None:
    sessions = Sessions(database, most=1, most_waiting=1, timeout_seconds=5)
    async with sessions.open():
        borrowed, may_end = asyncio.Event(), asyncio.Event()

        async def borrows() -> None:
            async with sessions.connection():
                borrowed.set()
                await may_end.wait()

        borrowing = asyncio.create_task(borrows())
        await borrowed.wait()
        pool = sessions._pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # by chance it is met once in weeks
        async with pool._lock:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # others are lent connections now
            may_end.set()
            await run_loop_turns(10)
            borrowing.cancel()
            await run_loop_turns(10)
        with pytest.raises(asyncio.CancelledError):
            await borrowing
        assert await sessions.one("select 1", None) == (1,)


async def run_loop_turns(turns: int = 3) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
