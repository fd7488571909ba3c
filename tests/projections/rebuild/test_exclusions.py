"""A rebuild leaves out what the live projection leaves out: neither more nor less, and it says what it cannot fold."""

from typing import LiteralString

import pytest

from domain.project import ProjectCreated, ProjectRenamed
from projections.rebuild.bounds import Progress
from projections.rebuild.faults import RebuildPoisoned, RebuildRefused
from projections.runtime.projection import Projection
from projections.settings import RebuildSettings
from tests.support.projections.broken_projections import OtherProjects, keep_event, refuse_bad_name
from tests.support.projections.given import WAIT_SECONDS, Harness, new_id, open_harness, run_in_background
from tests.support.projections.rebuilds import create_projections, ignore_progress, read_rows, run_rebuild
from tests.support.store.given import WORKSPACE

ELSEWHERE = new_id()


async def execute_statement(harness: Harness, statement: LiteralString) -> None:
    async with harness.models.connection() as connection:
        await connection.execute(statement)


async def fold_three_projects(harness: Harness, live: Projection) -> None:
    """Rename projects in two workspaces, one to a name that some cannot fold, and let a worker fold all."""
    checkpoints = harness.create_checkpoints()
    async with run_in_background(harness.create_worker(checkpoints, live).run()):
        for workspace, name in ((WORKSPACE, "bad"), (WORKSPACE, "good"), (ELSEWHERE, "other")):
            project = new_id()
            await harness.append_facts(project, ProjectCreated(name="new", owner="ada"), workspace=workspace)
            last = await harness.append_facts(project, ProjectRenamed(name=name), after=1, workspace=workspace)
        await checkpoints.wait_for("projects", last[-1].position, WAIT_SECONDS)


async def test_a_workspace_that_is_parked_is_left_out_from_there_on(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_three_projects(harness, OtherProjects(refuse_bad_name))
        before = await read_rows(harness, "projects")
        assert len(before) == 2, "what came after the poison in its workspace is parked"
        for again in (OtherProjects(refuse_bad_name), OtherProjects(keep_event)):
            assert (await run_rebuild(database, [again])).same
            assert await read_rows(harness, "projects") == before


async def test_a_fact_that_people_have_skipped_is_skipped(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_three_projects(harness, create_projections("projects")[0])
        await execute_statement(
            harness,
            """insert into skipped select 'projects', notification_id, workspace_id, originator_id, originator_version,
                 topic, 'bad', false, 'ada', 'it is bad' from events where notification_id = 2""",
        )
        report = await run_rebuild(database, [OtherProjects(refuse_bad_name)])
        assert [table.different for table in report.projections[0].tables] == [1, 0, 0, 0]
        assert sum('"name":"bad"' in row.replace('""', '"') for row in await read_rows(harness, "projects")) == 0


async def test_what_is_changed_behind_a_rebuild_is_not_quietly_missed(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_three_projects(harness, OtherProjects(refuse_bad_name))

        def stop(progress: Progress) -> None:
            if progress.position >= 3:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run_rebuild(
                database, create_projections("projects"), bounds=RebuildSettings(page_events=1), on_progress=stop
            )
        await execute_statement(harness, "delete from parked")
        await execute_statement(harness, "update checkpoints set revision = revision + 1")
        with pytest.raises(RebuildRefused, match="what projects excludes was changed behind rebuild 1"):
            await run_rebuild(database, create_projections("projects"), resume=True)


async def test_a_fact_that_cannot_be_folded_is_named_and_what_came_before_is_kept(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_three_projects(harness, create_projections("projects")[0])
        bounds = RebuildSettings(page_events=1)
        with pytest.raises(RebuildPoisoned, match=r"projects: event 2 of stream .* not to our taste"):
            await run_rebuild(database, [OtherProjects(refuse_bad_name)], bounds=bounds, on_progress=ignore_progress)
        report = await run_rebuild(database, create_projections("projects"), resume=True)
        assert (report.same, report.events) == (True, 5)


async def test_an_event_that_cannot_be_read_is_named(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_three_projects(harness, create_projections("projects")[0])
        await execute_statement(harness, "update events set state = '{' where notification_id = 4")
        with pytest.raises(RebuildPoisoned, match=r"projects: event 4 of .* project\.renamed cannot be read"):
            await run_rebuild(database, create_projections("projects"))
