"""A projection that is ahead of the log, after the tables of the log were restored alone, is folded anew."""

import psycopg

from tests.support.projections.given import (
    WAIT_SECONDS,
    Tally,
    open_harness,
    read_tally,
    run_in_background,
)
from tests.support.waiting import eventually

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
