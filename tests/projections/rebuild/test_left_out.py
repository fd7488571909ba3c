"""A rebuild leaves out what the live projection leaves out: neither more nor less, and it says what it cannot fold."""

from typing import LiteralString

import pytest

from domain.project import ProjectCreated, ProjectRenamed
from projections.rebuild.bounds import Progress
from projections.rebuild.faults import RebuildPoisoned, RebuildRefused
from projections.runtime.projection import Projection
from projections.settings import RebuildSettings
from tests.support.projections.broken_projections import OtherProjects, as_it_is, not_to_our_taste
from tests.support.projections.given import PATIENCE_SECONDS, World, in_background, new_id, world_of
from tests.support.projections.rebuilds import named, quiet, rebuilt, rows_of
from tests.support.store.given import WORKSPACE

ELSEWHERE = new_id()


async def executed(world: World, statement: LiteralString) -> None:
    async with world.models.connection() as connection:
        await connection.execute(statement)


async def three_projects(world: World, live: Projection) -> None:
    """Rename projects in two workspaces, one to a name that some cannot fold, and let a worker fold all."""
    checkpoints = world.checkpoints()
    async with in_background(world.worker(checkpoints, live).run()):
        for workspace, name in ((WORKSPACE, "bad"), (WORKSPACE, "good"), (ELSEWHERE, "other")):
            project = new_id()
            await world.record(project, ProjectCreated(name="new", owner="ada"), workspace=workspace)
            last = await world.record(project, ProjectRenamed(name=name), after=1, workspace=workspace)
        await checkpoints.wait_for("projects", last[-1].position, PATIENCE_SECONDS)


async def test_a_workspace_that_is_parked_is_left_out_from_there_on(database: str) -> None:
    async with world_of(database) as world:
        await three_projects(world, OtherProjects(not_to_our_taste))
        before = await rows_of(world, "projects")
        assert len(before) == 2, "what came after the poison in its workspace is parked"
        for again in (OtherProjects(not_to_our_taste), OtherProjects(as_it_is)):
            assert (await rebuilt(database, [again])).same
            assert await rows_of(world, "projects") == before


async def test_a_fact_that_people_have_skipped_is_skipped(database: str) -> None:
    async with world_of(database) as world:
        await three_projects(world, named("projects")[0])
        await executed(
            world,
            """insert into skipped select 'projects', notification_id, workspace_id, originator_id, originator_version,
                 topic, 'bad', false, 'ada', 'it is bad' from events where notification_id = 2""",
        )
        report = await rebuilt(database, [OtherProjects(not_to_our_taste)])
        assert [table.different for table in report.projections[0].tables] == [1]
        assert sum('"name":"bad"' in row.replace('""', '"') for row in await rows_of(world, "projects")) == 0


async def test_what_is_changed_behind_a_rebuild_is_not_quietly_missed(database: str) -> None:
    async with world_of(database) as world:
        await three_projects(world, OtherProjects(not_to_our_taste))

        def stop(progress: Progress) -> None:
            if progress.position >= 3:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await rebuilt(database, named("projects"), bounds=RebuildSettings(page_events=1), tell=stop)
        await executed(world, "delete from parked")
        await executed(world, "update checkpoints set revision = revision + 1")
        with pytest.raises(RebuildRefused, match="what projects leaves out was changed behind rebuild 1"):
            await rebuilt(database, named("projects"), resume=True)


async def test_a_fact_that_cannot_be_folded_is_named_and_what_came_before_is_kept(database: str) -> None:
    async with world_of(database) as world:
        await three_projects(world, named("projects")[0])
        bounds = RebuildSettings(page_events=1)
        with pytest.raises(RebuildPoisoned, match=r"projects: event 2 of stream .* not to our taste"):
            await rebuilt(database, [OtherProjects(not_to_our_taste)], bounds=bounds, tell=quiet)
        report = await rebuilt(database, named("projects"), resume=True)
        assert (report.same, report.events) == (True, 5)


async def test_an_event_that_cannot_be_read_is_named(database: str) -> None:
    async with world_of(database) as world:
        await three_projects(world, named("projects")[0])
        await executed(world, "update events set state = '{' where notification_id = 4")
        with pytest.raises(RebuildPoisoned, match=r"projects: event 4 of .* project\.renamed cannot be read"):
            await rebuilt(database, named("projects"))
