"""Leases on a real PostgreSQL: a run that is driven again while its lease is being released keeps one."""

from typing import Any

from psycopg import AsyncConnection

from engine.cluster.leases import Leases
from engine.cluster.membership import join_engines
from tests.support.commands.processes import new_id
from tests.support.engine.harness import open_harness, run_in_background
from tests.support.waiting import eventually

ROW = "select epoch from run_leases where run_id = %s"
BLOCKED = "select from pg_stat_activity where wait_event_type = 'Lock' and query like 'delete from run_leases%'"


async def test_a_run_that_is_driven_again_while_its_lease_is_released_has_one(database: str) -> None:
    run = new_id()
    async with (
        open_harness(database) as harness,
        join_engines(database, "first", lease_seconds=60) as member,
        await AsyncConnection[tuple[Any, ...]].connect(database, autocommit=True) as looking,
        await AsyncConnection[tuple[Any, ...]].connect(database) as holding,
    ):
        leases = Leases(harness.log.sessions, member.epoch, delay_seconds=0.0)

        async def has_row() -> bool:
            return await (await looking.execute(ROW, [run])).fetchone() is not None

        async def is_blocked() -> bool:
            return await (await looking.execute(BLOCKED)).fetchone() is not None

        async with run_in_background(leases.run(lambda _run: None)):
            leases.add(run)
            await eventually(has_row, what="the lease is written")
            await holding.execute(f"{ROW} for update", [run])
            leases.remove(run)
            await eventually(is_blocked, what="the release waits")
            leases.add(run)
            await holding.rollback()

            async def is_released() -> bool:
                return not await is_blocked()

            await eventually(is_released, what="the release is done")
            await eventually(has_row, what="the run has a lease again")
            assert leases.is_held(run)
