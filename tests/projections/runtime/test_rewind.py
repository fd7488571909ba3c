"""A projection that is ahead of the log, after only the tables of the log were restored, restarts from position 0."""

import asyncio

import psycopg

from tests.support.projections.given import (
    WAIT_SECONDS,
    Tally,
    open_harness,
    read_tally,
    run_in_background,
)
from tests.support.waiting import eventually

END_WORKER = """
select pg_terminate_backend(pid) from pg_stat_activity
 where datname = current_database() and position('tally@' in application_name) > 0 and pid <> pg_backend_pid()
"""
REWIND = "with gone as (delete from events where notification_id > 5) update log_head set position = 5"


async def test_a_projection_ahead_of_the_log_is_folded_anew(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()):
            await checkpoints.wait_for("tally", await harness.append_renames(20), WAIT_SECONDS)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(REWIND)
    async with (
        open_harness(database) as harness,
        run_in_background(harness.create_worker(harness.create_checkpoints(), Tally()).run()),
    ):
        last = await harness.append_renames(2)
        assert last < 21

        async def is_folded() -> bool:
            return await read_tally(harness) == last == await harness.read_checkpoint("tally")

        await eventually(is_folded, what="the projection has folded the log as it is now")


async def test_facts_that_a_restore_has_removed_are_not_folded_from_memory(database: str) -> None:
    """The worker reconnects to an older log before the feed, which looks once a minute, has noticed."""
    async with (
        open_harness(database, poll_seconds=60) as harness,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        checkpoints = harness.create_checkpoints()
        worker = asyncio.create_task(harness.create_worker(checkpoints, Tally()).run())
        await checkpoints.wait_for("tally", await harness.append_renames(3), WAIT_SECONDS)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("lock table tallies in access exclusive mode")
            await harness.append_renames(20)
            await connection.execute("update checkpoints set position = 5 where projection = 'tally'")
            await connection.execute(REWIND)
            assert (await connection.execute(END_WORKER)).rowcount == 1
        await asyncio.wait({worker}, timeout=WAIT_SECONDS)
        assert worker.done(), "the worker goes on with what it remembers"
        assert "LogRewound" in repr(worker.exception())
        assert await harness.read_checkpoint("tally") == 5
