"""The swap in the midst of readers and writers: nobody sees an error or misses a row, and no worker writes what was."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from domain.project import ProjectArchived, ProjectCreated
from projections.read_models.runs_view import RunsView
from projections.rebuild.faults import RebuildRefused
from projections.settings import RebuildSettings
from tests.support.projections.broken_projections import OtherProjects, add_exclamation
from tests.support.projections.given import WAIT_SECONDS, Harness, new_id, open_harness, run_in_background
from tests.support.projections.rebuilds import (
    BOUNDS,
    append_traffic,
    create_projections,
    create_run_facts,
    read_all_rows,
    read_rows,
    run_rebuild,
)
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

SHAPE: Final = """
select c.relname, c.relkind, c.reloptions, obj_description(c.oid, 'pg_class'),
       case when c.relkind = 'i' then replace(pg_get_indexdef(c.oid), n.nspname || '.', '') end,
       (select array_agg((a.attname, a.atttypid, a.attnotnull, col_description(c.oid, a.attnum))::text
                         order by a.attnum)
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0)::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'public' and c.relkind in ('r', 'i')
 order by c.relname
"""
"""All that a table or an index is, but for its rows."""


async def test_tables_and_indexes_are_after_a_rebuild_what_migrations_make(database: str) -> None:
    async with open_harness(database) as harness, harness.models.connection() as connection:
        before = await (await connection.execute(SHAPE)).fetchall()
        await run_rebuild(database, create_projections())
        assert await (await connection.execute(SHAPE)).fetchall() == before


async def has_grown(known: list[UUID], seen: int) -> bool:
    return len(known) >= seen + 2


async def test_readers_and_writers_go_on_through_rebuilds(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        live = create_projections()
        workflow, known = new_id(), list[UUID]()
        view = RunsView(harness.models)

        async def write() -> None:
            while True:
                run = new_id()
                last = await harness.append_facts(run, *create_run_facts(workflow, ended=len(known) % 2 == 0))
                await checkpoints.wait_for("runs", last[-1].position, WAIT_SECONDS)
                known.append(run)

        async def read() -> None:
            while True:
                for run in known[-3:]:
                    assert await view.get(WORKSPACE, run) is not None, "a run that was seen is always seen"
                await asyncio.sleep(0)

        async with run_in_background(harness.create_worker(checkpoints, *live).run()):
            await append_traffic(harness, 20)
            async with run_in_background(write()) as writing, run_in_background(read()) as reading:
                for _ in range(4):
                    seen = len(known)
                    assert (await run_rebuild(database, create_projections())).same
                    await eventually(lambda seen=seen: has_grown(known, seen), what="runs are written and read")
                assert not writing.done()
                assert not reading.done()
            head, _ = await harness.log.head()
            for projection in live:
                await checkpoints.wait_for(projection.name, head, WAIT_SECONDS)
            before = await read_all_rows(harness)
            assert (await run_rebuild(database, create_projections())).same
            assert await read_all_rows(harness) == before


async def test_a_worker_forgets_what_it_remembers_of_the_tables_that_were_replaced(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, OtherProjects(add_exclamation)).run()):
            project = new_id()
            created = await harness.append_facts(project, ProjectCreated(name="one", owner="ada"))
            await checkpoints.wait_for("projects", created[-1].position, WAIT_SECONDS)
            report = await run_rebuild(database, create_projections("projects"))
            assert not report.same
            archived = await harness.append_facts(project, ProjectArchived(), after=1)
            await checkpoints.wait_for("projects", archived[-1].position, WAIT_SECONDS)
            (row,) = await read_rows(harness, "projects")
            assert "archived" in row
            assert "one!" not in row


async def test_a_swap_waits_for_whoever_holds_the_tables_only_so_long_and_tries_again(database: str) -> None:
    async with open_harness(database) as harness:
        await append_traffic(harness, 5)
        async with await AsyncConnection.connect(database) as holder:
            await holder.execute("select count(*) from runs")
            bounds = RebuildSettings(swap_wait_ms=50, swap_tries=2, swap_pause_seconds=0.01)
            with pytest.raises(RebuildRefused, match="could not be locked in 2 tries"):
                await run_rebuild(database, create_projections("runs"), bounds=bounds)
            await fold_to_head(harness)
        report = await run_rebuild(database, create_projections("runs"), resume=True)
        assert report.id == 1
        assert len(await read_rows(harness, "runs")) == 5


async def fold_to_head(harness: Harness) -> None:
    """Run a worker until the live tables are at the head, while their swap is retried."""
    checkpoints = harness.create_checkpoints()
    async with run_in_background(harness.create_worker(checkpoints, *create_projections("runs")).run()):
        await checkpoints.wait_for("runs", (await harness.log.head())[0], WAIT_SECONDS)


async def test_only_one_process_rebuilds_a_projection(database: str) -> None:
    async with open_harness(database) as harness:
        await append_traffic(harness, 5)
        await fold_to_head(harness)

        async def again(*names: str) -> None:
            await run_rebuild(database, create_projections(*names))

        refused: list[Callable[[], Awaitable[None]]] = [lambda: again("runs"), lambda: again("tasks", "runs")]
        tried: list[asyncio.Task[None]] = []
        await run_rebuild(
            database,
            create_projections("runs"),
            bounds=BOUNDS,
            on_progress=lambda _: tried.extend(
                asyncio.ensure_future(attempt()) for attempt in refused if len(tried) < len(refused)
            ),
        )
        results = await asyncio.gather(*tried, return_exceptions=True)
        assert any("another process is rebuilding runs now" in str(result) for result in results), results
