"""Rebuilding beside live traffic: the same rows, swapped under the same names, with a report that says so."""

from projections.settings import RebuildSettings
from tests.support.projections.given import PATIENCE_SECONDS, in_background, world_of
from tests.support.projections.rebuilds import everything, named, rebuilt, rows_of, traffic
from tests.support.servers.postgres import EVERY_POSTGRES


@EVERY_POSTGRES
async def test_what_is_rebuilt_equals_what_was_live_byte_for_byte(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        live = named()
        async with in_background(world.worker(checkpoints, *live).run()):
            last = await traffic(world, 40)
            for projection in live:
                await checkpoints.wait_for(projection.name, last, PATIENCE_SECONDS)
            before = await everything(world)
            report = await rebuilt(database, named())
            assert report.same
            assert await everything(world) == before
            assert await everything(world, f"replaced_{report.id}") == before
            assert {table.table: table.rows_new for one in report.projections for table in one.tables} == {
                table: len(rows) for table, rows in before.items()
            }
            last = await traffic(world, 3)
            for projection in live:
                await checkpoints.wait_for(projection.name, last, PATIENCE_SECONDS)
            assert len(await rows_of(world, "runs")) == 43
            assert len(await rows_of(world, "runs", f"replaced_{report.id}")) == 40


async def test_projections_that_stand_far_apart_are_rebuilt_together(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        async with in_background(world.worker(checkpoints, *named("runs")).run()):
            last = await traffic(world, 20)
            await checkpoints.wait_for("runs", last, PATIENCE_SECONDS)
        stands = await world.checkpoint("runs")  # behind `last` by what it does not want: the row follows later
        report = await rebuilt(database, named("tasks", "runs"), bounds=RebuildSettings(swap_events_max=10))
        assert (report.same, report.swapped_at) == (True, {"tasks": 0, "runs": stands})
        assert len(await rows_of(world, "runs")) == 20
