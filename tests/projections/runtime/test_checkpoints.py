"""Waiting for a projection: immediately in the worker's process, by polling in others, and always with a timeout."""

import asyncio
import time
from typing import LiteralString

import psycopg
import pytest

from projections.runtime.checkpoints import ProjectionBehind
from projections.runtime.read_pool import Parameters, ReadModels, Row
from projections.settings import ProjectionSettings
from tests.support.projections.given import (
    POLL_SECONDS,
    WAIT_SECONDS,
    Tally,
    create_prompt_checkpoints,
    open_harness,
    run_in_background,
)
from tests.support.waiting import eventually


async def test_a_position_that_is_reached_is_not_waited_for(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        checkpoints.advance("tally", 7)
        await checkpoints.wait_for("tally", 7, 0)
        assert checkpoints.position("tally") == 7


async def test_many_wait_in_the_workers_process_and_all_are_woken(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Tally()).run()), asyncio.TaskGroup() as group:
            for position in range(1, 22):
                group.create_task(checkpoints.wait_for("tally", position, WAIT_SECONDS))
            await harness.append_renames(20)


async def test_another_process_sees_the_position_in_the_table(database: str) -> None:
    async with open_harness(database) as harness:
        here, elsewhere = harness.create_checkpoints(), harness.create_checkpoints()
        async with run_in_background(harness.create_worker(here, Tally()).run()), asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(elsewhere.wait_for("tally", 6, WAIT_SECONDS))
            await harness.append_renames(5)
        assert elsewhere.position("tally") == 6


async def test_a_wait_ends_in_time(database: str) -> None:
    async with open_harness(database) as harness:
        with pytest.raises(ProjectionBehind, match="did not reach position 1 within"):
            await harness.create_checkpoints().wait_for("tally", 1, 0.05)


class CountedModels(ReadModels):
    """Counts the queries of the checkpoints table."""

    looks = 0

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[Row]:
        self.looks += 1
        return await super().rows(query, parameters)


READERS = 1_000


async def test_a_thousand_who_wait_for_another_process_share_one_look_at_the_table(database: str) -> None:
    async with open_harness(database) as harness:
        models = CountedModels(database, ProjectionSettings())
        async with models.open(), asyncio.TaskGroup() as group:
            checkpoints = create_prompt_checkpoints(models)
            waiting = [group.create_task(checkpoints.wait_for("tally", 6, WAIT_SECONDS)) for _ in range(READERS)]
            await asyncio.sleep(0)
            begun_at, used = time.monotonic(), time.process_time()

            async def has_polled() -> bool:
                return models.looks >= 50

            await eventually(has_polled, what="the table has been looked at fifty times")
            busy = (time.process_time() - used) / (time.monotonic() - begun_at)
            assert models.looks <= 2 + (time.monotonic() - begun_at) / (0.8 * POLL_SECONDS)
            assert busy < 0.5, f"waiting took {busy:.0%} of a processor"
            async with run_in_background(harness.create_worker(harness.create_checkpoints(), Tally()).run()):
                await harness.append_renames(5)
                await asyncio.gather(*waiting)


async def test_who_looks_for_all_hands_it_on_when_it_gives_up(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        first = asyncio.create_task(checkpoints.wait_for("tally", 6, WAIT_SECONDS))
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(checkpoints.wait_for("tally", 6, WAIT_SECONDS)) for _ in range(3)]
            await asyncio.sleep(0)
            first.cancel()
            async with run_in_background(harness.create_worker(harness.create_checkpoints(), Tally()).run()):
                await harness.append_renames(5)
                await asyncio.gather(*others)
        assert first.cancelled()


async def test_who_waited_for_the_worker_here_looks_when_it_has_gone(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        checkpoints.set_followed("tally", here=True)
        async with run_in_background(harness.create_worker(harness.create_checkpoints(), Tally()).run()):
            waiting = asyncio.create_task(checkpoints.wait_for("tally", 6, WAIT_SECONDS))
            await harness.append_renames(5)
            checkpoints.set_followed("tally", here=False)
            await waiting


async def test_a_look_that_took_long_does_not_put_back_what_the_worker_has_said_meanwhile(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with await psycopg.AsyncConnection.connect(database) as other:
            await other.execute("insert into checkpoints (projection, position, revision) values ('tally', 1, 1)")
            await other.commit()
            await other.execute("lock table parked in access exclusive mode")
            looking = asyncio.create_task(checkpoints.refresh())

            async def reads_what_is_parked() -> bool:
                found = await other.execute("select from pg_locks where not granted and relation = 'parked'::regclass")
                return found.rowcount > 0

            await eventually(reads_what_is_parked, what="the look waits for what is parked")
            checkpoints.set_followed("tally", here=True)
            checkpoints.set_parked("tally", 1, {})
            checkpoints.advance("tally", 2, revision=1)
            await other.rollback()
            await looking
        await checkpoints.wait_for("tally", 2, 0)
