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
from tests.support.projections.broken_projections import OtherProjects, shouting
from tests.support.projections.given import PATIENCE_SECONDS, World, in_background, new_id, world_of
from tests.support.projections.rebuilds import BOUNDS, everything, named, rebuilt, rows_of, run_of, traffic
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
    async with world_of(database) as world, world.models.connection() as connection:
        before = await (await connection.execute(SHAPE)).fetchall()
        await rebuilt(database, named())
        assert await (await connection.execute(SHAPE)).fetchall() == before


async def grown(known: list[UUID], seen: int) -> bool:
    return len(known) >= seen + 2


async def test_readers_and_writers_go_on_through_rebuilds(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        live = named()
        workflow, known = new_id(), list[UUID]()
        view = RunsView(world.models)

        async def write() -> None:
            while True:
                run = new_id()
                last = await world.record(run, *run_of(workflow, ended=len(known) % 2 == 0))
                await checkpoints.wait_for("runs", last[-1].position, PATIENCE_SECONDS)
                known.append(run)

        async def read() -> None:
            while True:
                for run in known[-3:]:
                    assert await view.get(WORKSPACE, run) is not None, "a run that was seen is always seen"
                await asyncio.sleep(0)

        async with in_background(world.worker(checkpoints, *live).run()):
            await traffic(world, 20)
            async with in_background(write()) as writing, in_background(read()) as reading:
                for _ in range(4):
                    seen = len(known)
                    assert (await rebuilt(database, named())).same
                    await eventually(lambda seen=seen: grown(known, seen), what="runs are written and read")
                assert not writing.done()
                assert not reading.done()
            head, _ = await world.log.head()
            for projection in live:
                await checkpoints.wait_for(projection.name, head, PATIENCE_SECONDS)
            before = await everything(world)
            assert (await rebuilt(database, named())).same
            assert await everything(world) == before


async def test_a_worker_forgets_what_it_remembers_of_the_tables_that_were_replaced(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        async with in_background(world.worker(checkpoints, OtherProjects(shouting)).run()):
            project = new_id()
            created = await world.record(project, ProjectCreated(name="one", owner="ada"))
            await checkpoints.wait_for("projects", created[-1].position, PATIENCE_SECONDS)
            report = await rebuilt(database, named("projects"))
            assert not report.same
            archived = await world.record(project, ProjectArchived(), after=1)
            await checkpoints.wait_for("projects", archived[-1].position, PATIENCE_SECONDS)
            (row,) = await rows_of(world, "projects")
            assert "archived" in row
            assert "one!" not in row


async def test_a_swap_waits_for_whoever_holds_the_tables_only_so_long_and_tries_again(database: str) -> None:
    async with world_of(database) as world:
        await traffic(world, 5)
        async with await AsyncConnection.connect(database) as holder:
            await holder.execute("select count(*) from runs")
            bounds = RebuildSettings(swap_wait_ms=50, swap_tries=2, swap_pause_seconds=0.01)
            with pytest.raises(RebuildRefused, match="could not be had in 2 tries"):
                await rebuilt(database, named("runs"), bounds=bounds)
            await folded_by_somebody(world)
        report = await rebuilt(database, named("runs"), resume=True)
        assert report.id == 1
        assert len(await rows_of(world, "runs")) == 5


async def folded_by_somebody(world: World) -> None:
    """Let a worker bring the live tables to the head while a swap of theirs is put off."""
    checkpoints = world.checkpoints()
    async with in_background(world.worker(checkpoints, *named("runs")).run()):
        await checkpoints.wait_for("runs", (await world.log.head())[0], PATIENCE_SECONDS)


async def test_only_one_process_rebuilds_a_projection(database: str) -> None:
    async with world_of(database) as world:
        await traffic(world, 5)
        await folded_by_somebody(world)

        async def again(*names: str) -> None:
            await rebuilt(database, named(*names))

        refused: list[Callable[[], Awaitable[None]]] = [lambda: again("runs"), lambda: again("tasks", "runs")]
        tried: list[asyncio.Task[None]] = []
        await rebuilt(
            database,
            named("runs"),
            bounds=BOUNDS,
            tell=lambda _: tried.extend(asyncio.ensure_future(one()) for one in refused if len(tried) < len(refused)),
        )
        results = await asyncio.gather(*tried, return_exceptions=True)
        assert any("another process is rebuilding runs now" in str(one) for one in results), results
