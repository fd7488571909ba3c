"""Waiting for a projection: at once in the worker's process, from the table in another, and never for ever."""

import asyncio

import pytest

from projections.checkpoints import ProjectionBehind
from tests.projections.given import PATIENCE_SECONDS, Tally, in_background, world_of


async def test_a_position_that_is_reached_is_not_waited_for(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        checkpoints.moved("tally", 7)
        await checkpoints.wait_for("tally", 7, 0)
        assert checkpoints.position("tally") == 7


async def test_many_wait_in_the_workers_process_and_all_are_woken(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        async with in_background(world.worker(checkpoints, Tally()).run()), asyncio.TaskGroup() as group:
            for position in range(1, 22):
                group.create_task(checkpoints.wait_for("tally", position, PATIENCE_SECONDS))
            await world.rename_often(20)


async def test_another_process_sees_the_position_in_the_table(database: str) -> None:
    async with world_of(database) as world:
        here, elsewhere = world.checkpoints(), world.checkpoints()
        async with in_background(world.worker(here, Tally()).run()), asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(elsewhere.wait_for("tally", 6, PATIENCE_SECONDS))
            await world.rename_often(5)
        assert elsewhere.position("tally") == 6


async def test_a_wait_ends_in_time(database: str) -> None:
    async with world_of(database) as world:
        with pytest.raises(ProjectionBehind, match="did not come to position 1 within"):
            await world.checkpoints().wait_for("tally", 1, 0.05)
