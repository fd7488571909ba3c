"""Rebuilding beside live traffic: the same rows, swapped under the same names, with a report that says so."""

from projections.settings import RebuildSettings
from tests.support.projections.given import WAIT_SECONDS, open_harness, run_in_background
from tests.support.projections.rebuilds import append_traffic, create_projections, read_all_rows, read_rows, run_rebuild
from tests.support.servers.postgres import EVERY_POSTGRES


@EVERY_POSTGRES
async def test_what_is_rebuilt_equals_what_was_live_byte_for_byte(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        live = create_projections()
        async with run_in_background(harness.create_worker(checkpoints, *live).run()):
            last = await append_traffic(harness, 40)
            for projection in live:
                await checkpoints.wait_for(projection.name, last, WAIT_SECONDS)
            before = await read_all_rows(harness)
            report = await run_rebuild(database, create_projections())
            assert report.same
            assert await read_all_rows(harness) == before
            assert await read_all_rows(harness, f"replaced_{report.id}") == before
            assert {
                table.table: table.rows_new for projection in report.projections for table in projection.tables
            } == {table: len(rows) for table, rows in before.items()}
            last = await append_traffic(harness, 3)
            for projection in live:
                await checkpoints.wait_for(projection.name, last, WAIT_SECONDS)
            assert len(await read_rows(harness, "runs")) == 43
            assert len(await read_rows(harness, "runs", f"replaced_{report.id}")) == 40


async def test_projections_that_stand_far_apart_are_rebuilt_together(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, *create_projections("runs")).run()):
            last = await append_traffic(harness, 20)
            await checkpoints.wait_for("runs", last, WAIT_SECONDS)
        stands = await harness.read_checkpoint("runs")  # behind `last` by what it does not want: the row follows later
        report = await run_rebuild(
            database, create_projections("tasks", "runs"), bounds=RebuildSettings(swap_events_max=10)
        )
        assert (report.same, report.swapped_at) == (True, {"tasks": 0, "runs": stands})
        assert len(await read_rows(harness, "runs")) == 20
