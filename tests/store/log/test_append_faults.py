"""Appending during failures: every caller gets the known outcome immediately, and the log recovers by itself."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from store.errors import DatabaseAway, OutcomeUnknown, Unavailable
from store.log.log import Log
from store.log.records import Accepted, Recorded
from store.postgres.migrations import migrate
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES, PostgresForTests
from tests.support.store.given import create_append, open_log, read_whole_log, require_accepted, wait_for_head_waiter
from tests.support.waiting import eventually

KILL_APPENDER = """
select pg_terminate_backend(pid) from pg_stat_activity
 where datname = current_database() and query like '%append_events%' and pid <> pg_backend_pid()
"""
CANCEL_APPENDER = KILL_APPENDER.replace("terminate", "cancel")
READ_ONLY = (
    "do $$ begin execute format('alter database %I set default_transaction_read_only = {}', current_database()); end $$"
)
APPENDER = """
select pid from pg_stat_activity
 where datname = current_database() and query like '%append_events%' and pid <> pg_backend_pid()
"""
"""The appender's connection: it has prepared its statement."""


async def can_append(log: Log) -> bool:
    try:
        await log.append(create_append(uuid4(), 0))
    except Unavailable:
        return False
    return True


async def is_read_only(log: Log) -> bool:
    try:
        log.check_ready()
    except DatabaseAway as away:
        return "the database is read-only" in str(away)
    return False


async def wait_until_served_again(log: Log) -> None:
    """Wait until an append is taken."""
    await eventually(lambda: can_append(log), what="appends are taken again", seconds=30)


async def wait_until_refused(log: Log) -> None:
    """Wait until an append is refused: a signal has only been sent when we come back from sending it."""

    async def is_refused() -> bool:
        return not await can_append(log)

    await eventually(is_refused, what="the server is gone")


@EVERY_POSTGRES
async def test_a_connection_killed_during_a_batch_leaves_what_was_sent_unknown_and_the_rest_undone(
    database: str,
) -> None:
    async with open_log(database) as log:
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            sent = [asyncio.create_task(log.append(create_append(uuid4(), 0))) for _ in range(3)]
            await wait_for_head_waiter(database)
            queued = [asyncio.create_task(log.append(create_append(uuid4(), 0))) for _ in range(3)]
            await holder.execute(KILL_APPENDER)
            outcomes = await asyncio.gather(*sent, *queued, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3 + [DatabaseAway] * 3
        await wait_until_served_again(log)
        assert [event.position for event in await read_whole_log(log)] == [1]


async def test_while_the_log_is_not_reached_callers_are_refused_at_once_and_not_queued(database: str) -> None:
    log = Log(database, StoreSettings())
    async with log.open_readers():
        with pytest.raises(Unavailable, match="not connected yet"):
            await log.append(create_append(uuid4(), 0))


@EVERY_POSTGRES
async def test_a_batch_that_waits_too_long_for_the_head_is_known_to_have_had_no_effect(database: str) -> None:
    async with open_log(database, StoreSettings(statement_timeout_ms=200)) as log:
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            outcomes = await asyncio.gather(
                *(log.append(create_append(uuid4(), 0)) for _ in range(3)), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [DatabaseAway] * 3
        assert require_accepted(await log.append(create_append(uuid4(), 0))).position == 1


async def test_a_cancelled_statement_is_known_to_have_had_no_effect(database: str) -> None:
    async with open_log(database) as log:
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            sent = asyncio.create_task(log.append(create_append(uuid4(), 0)))
            await wait_for_head_waiter(database)
            await holder.execute(CANCEL_APPENDER)
            with pytest.raises(Unavailable) as refused:
                await sent
        assert type(refused.value) is DatabaseAway
        assert require_accepted(await log.append(create_append(uuid4(), 0))).position == 1


async def test_a_read_only_server_takes_no_appends_until_it_can_be_written_again(database: str) -> None:
    async with open_log(database) as log, await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        await other.execute(READ_ONLY.format("on"))
        await other.execute(KILL_APPENDER)  # the setting is of new sessions
        try:
            await eventually(lambda: is_read_only(log), what="the appender says that the server is read-only")
        finally:
            await other.execute("set default_transaction_read_only = off")
            await other.execute(READ_ONLY.format("off"))
        await wait_until_served_again(log)
        log.check_ready()


@EVERY_POSTGRES
async def test_a_server_that_crashes_and_comes_back_is_found_again(own_postgres: PostgresForTests) -> None:
    conninfo = own_postgres.lend_database(migrated=False)
    await migrate(conninfo, ["store"])
    async with open_log(conninfo) as log:
        kept = require_accepted(await log.append(create_append(uuid4(), 0)))
        await asyncio.to_thread(own_postgres.crash)
        await wait_until_refused(log)
        await asyncio.to_thread(own_postgres.start)
        await wait_until_served_again(log)
        assert (await read_whole_log(log))[0] == kept.recorded[0]


async def test_a_connection_that_dies_while_idle_costs_no_command_its_outcome(database: str) -> None:
    async with open_log(database) as log:
        require_accepted(await log.append(create_append(uuid4(), 0)))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
            old = await (await other.execute(APPENDER)).fetchone()
            await other.execute(KILL_APPENDER)

            async def connected_anew() -> bool:
                new = await (await other.execute(APPENDER)).fetchone()
                return new not in {None, old}

            await eventually(connected_anew, what="the appender has connected anew by itself")
        await log.wait_until_connected()
        require_accepted(await log.append(create_append(uuid4(), 0)))


async def test_an_appender_that_dies_of_a_bug_fails_its_callers_at_once(database: str) -> None:
    log = Log(database, StoreSettings())

    def raise_fault(_: list[Recorded]) -> None:
        raise ZeroDivisionError

    log.tell(raise_fault)
    async with log.open_readers():
        serving = asyncio.create_task(log.run())
        await log.wait_until_connected()
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            committed = asyncio.create_task(log.append(create_append(uuid4(), 0)))
            await wait_for_head_waiter(database)
            queued = asyncio.create_task(log.append(create_append(uuid4(), 0)))
            await asyncio.sleep(0)  # it is in the queue now
        outcomes = await asyncio.gather(committed, queued, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Accepted, DatabaseAway]
        with pytest.raises(ZeroDivisionError):
            await serving
        with pytest.raises(Unavailable, match="the log has stopped"):
            await log.append(create_append(uuid4(), 0))


async def test_a_log_that_is_stopped_during_a_commit_says_that_the_outcome_is_unknown(database: str) -> None:
    log = Log(database, StoreSettings())
    async with log.open_readers():
        serving = asyncio.create_task(log.run())
        await log.wait_until_connected()
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            sent = asyncio.create_task(log.append(create_append(uuid4(), 0)))
            await wait_for_head_waiter(database)
            serving.cancel()
            with pytest.raises(OutcomeUnknown):
                await sent
        with pytest.raises(asyncio.CancelledError):
            await serving
