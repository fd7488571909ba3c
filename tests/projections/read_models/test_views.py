"""Reading read models: pages skip and repeat nothing under inserts, and nobody sees another workspace."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from domain.asset import AssetContentRevised, AssetCreated, AssetStatus, AssetType
from domain.payload import Payload
from domain.project import ProjectArchived, ProjectCreated, ProjectRenamed, ProjectStatus
from domain.runs.facts import Pins, RunCompleted, RunStarted, StepWaiting, WaitFor
from domain.runs.run import RunStatus
from domain.workflow import WorkflowCreated, WorkflowGraphRevised, WorkflowStatus
from projections.read_models.assets import AssetsProjection
from projections.read_models.assets_view import AssetFilters, AssetsView
from projections.read_models.projects import ProjectsProjection
from projections.read_models.projects_view import ProjectFilters, ProjectsView
from projections.read_models.runs import RunsProjection
from projections.read_models.runs_view import RunFilters, RunsView
from projections.read_models.workflows import WorkflowsProjection
from projections.read_models.workflows_view import WorkflowFilters, WorkflowsView
from projections.runtime.paging import Cursor, Sort
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from tests.support.projections.given import NOW, apply_facts, new_id, number_facts, open_read_models
from tests.support.store.given import WORKSPACE

OTHER_WORKSPACE = UUID("0192f000-0000-7000-8000-000000000002")
laws = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run_started(workflow: UUID) -> RunStarted:
    return RunStarted(workflow_id=workflow, workflow_version=1, inputs=Payload(value=1), pins=Pins(), started_at=NOW)


async def clear(connection: AsyncConnection[Any]) -> None:
    await connection.execute("truncate runs, projects, workflows, assets, workflow_versions, asset_versions")


@laws
@given(
    before=st.lists(st.integers(0, 2), max_size=12),
    inserts=st.lists(st.lists(st.integers(0, 2), max_size=4), max_size=6),
    limit=st.integers(1, 4),
    sort=st.sampled_from(Sort),
)
async def test_pages_of_runs_skip_and_repeat_nothing_while_runs_are_added(
    database: str, before: list[int], inserts: list[list[int]], limit: int, sort: Sort
) -> None:
    workflows = [new_id() for _ in range(3)]
    everything = [workflow for part in (before, *inserts) for workflow in part]
    facts = number_facts([(new_id(), run_started(workflows[number])) for number in everything], project=new_id())
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await clear(connection)
        projection, view = RunsProjection(most_remembered=3), RunsView(models)
        await apply_facts(connection, projection, facts[: len(before)])
        at, cursor, seen = len(before), None, list[UUID]()
        sizes = iter([len(inserted) for inserted in inserts])
        while True:
            page = await view.list(
                WORKSPACE, filters=RunFilters(workflow_id=workflows[0]), limit=limit, cursor=cursor, sort=sort
            )
            seen += [item.stream_id for item in page.items]
            if page.next is None:
                break
            cursor = page.next
            added = next(sizes, 0)
            await apply_facts(connection, projection, facts[at : at + added])
            at += added
    of_workflow = [event.stream_id for event, number in zip(facts, everything, strict=True) if number == 0]
    there_before = [run for run in of_workflow if run in {fact.stream_id for fact in facts[: len(before)]}]
    if sort.descending:
        assert seen == there_before[::-1]
    else:
        assert seen == of_workflow[: len(seen)]
        assert len(seen) >= len(there_before)


@pytest.mark.parametrize("sort", Sort)
async def test_projects_come_in_each_order_page_by_page(database: str, sort: Sort) -> None:
    ids = [new_id() for _ in range(7)]
    touched = [3, 0, 6, 2, 5, 1, 4]
    facts = number_facts(
        [
            *((stream, ProjectCreated(name=f"{n}", owner="ada")) for n, stream in enumerate(ids)),
            *((ids[n], ProjectRenamed(name=f"again {n}")) for n in touched),
        ]
    )
    order = ids if sort in {Sort.OLDEST, Sort.NEWEST} else [ids[n] for n in touched]
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await apply_facts(connection, ProjectsProjection(most_remembered=3), facts)
        view, seen, cursor = ProjectsView(models), list[UUID](), None
        while True:
            page = await view.list(WORKSPACE, filters=ProjectFilters(), limit=3, cursor=cursor, sort=sort)
            seen += [item.stream_id for item in page.items]
            cursor = page.next
            if cursor is None:
                break
        assert seen == (order[::-1] if sort.descending else order)


async def test_a_cursor_of_another_order_is_refused(database: str) -> None:
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database), models.open():
        cursor = Cursor(Sort.OLDEST, 1)
        with pytest.raises(ValueError, match="created_at"):
            await ProjectsView(models).list(WORKSPACE, filters=ProjectFilters(), limit=1, cursor=cursor)
        with pytest.raises(ValueError, match="created_at"):
            await RunsView(models).list(WORKSPACE, filters=RunFilters(project_id=WORKSPACE), limit=1, cursor=cursor)


async def test_lists_filter_by_what_things_are(database: str) -> None:
    project, prompt, data, active, archived = (new_id() for _ in range(5))
    waiting, done, workflow = (new_id() for _ in range(3))
    facts = number_facts(
        [
            (active, ProjectCreated(name="Launch", owner="ada")),
            (archived, ProjectCreated(name="Old", owner="ada")),
            (archived, ProjectArchived()),
            (prompt, AssetCreated(type=AssetType.PROMPT, label="Outline", metadata={}, content=Payload(value="x"))),
            (data, AssetCreated(type=AssetType.DATASET, label="Briefs", metadata={}, content=Payload(value=[]))),
            (waiting, run_started(workflow)),
            (waiting, StepWaiting(node="a", attempt=1, waiting_for=WaitFor.HUMAN, waiting_since=NOW)),
            (done, run_started(workflow)),
            (done, RunCompleted(output_nodes=(), completed_at=NOW)),
        ],
        project=project,
    )
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await apply_facts(connection, ProjectsProjection(most_remembered=9), facts[:3])
        await apply_facts(connection, AssetsProjection(most_remembered=9), facts[3:5])
        await apply_facts(connection, RunsProjection(most_remembered=9), facts[5:])
        projects, assets, runs = ProjectsView(models), AssetsView(models), RunsView(models)

        gone = await projects.list(WORKSPACE, filters=ProjectFilters(status=ProjectStatus.ARCHIVED), limit=9)
        named = await projects.list(WORKSPACE, filters=ProjectFilters(name="Launch"), limit=9)
        prompts = await assets.list(
            WORKSPACE,
            filters=AssetFilters(project_id=project, type=AssetType.PROMPT, status=AssetStatus.ACTIVE),
            limit=9,
        )
        labelled = await assets.list(WORKSPACE, filters=AssetFilters(project_id=project, label="Briefs"), limit=9)
        idle = await runs.list(
            WORKSPACE, filters=RunFilters(project_id=project, status=RunStatus.WAITING), limit=9, sort=Sort.OLDEST
        )
        found = [[item.stream_id for item in page.items] for page in (gone, named, prompts, labelled, idle)]
        assert found == [[archived], [active], [prompt], [data], [waiting]]


async def test_nothing_of_another_workspace_is_seen(database: str) -> None:
    project, workflow, asset, run = (new_id() for _ in range(4))
    facts = number_facts(
        [
            (project, ProjectCreated(name="Launch", owner="ada")),
            (workflow, WorkflowCreated(name="Flow", graph={"nodes": []})),
            (asset, AssetCreated(type=AssetType.PROMPT, label="P", metadata={}, content=Payload(value="x"))),
            (run, run_started(workflow)),
        ],
        workspace=OTHER_WORKSPACE,
        project=project,
    )
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await apply_facts(connection, ProjectsProjection(most_remembered=9), facts[:1])
        await apply_facts(connection, WorkflowsProjection(most_remembered=9), facts[1:2])
        await apply_facts(connection, AssetsProjection(most_remembered=9), facts[2:3])
        await apply_facts(connection, RunsProjection(most_remembered=9), facts[3:])
        projects, workflows = ProjectsView(models), WorkflowsView(models)
        for workspace, there in ((OTHER_WORKSPACE, True), (WORKSPACE, False)):
            gets = [
                await projects.get(workspace, project),
                await workflows.get(workspace, workflow),
                await workflows.version(workspace, workflow, 1),
                await AssetsView(models).get(workspace, asset),
                await RunsView(models).get(workspace, run),
            ]
            lists: list[tuple[Any, ...]] = [
                (await projects.list(workspace, filters=ProjectFilters(), limit=9)).items,
                (
                    await WorkflowsView(models).list(workspace, filters=WorkflowFilters(project_id=project), limit=9)
                ).items,
                (await WorkflowsView(models).versions(workspace, workflow, limit=9)).items,
                (await AssetsView(models).list(workspace, filters=AssetFilters(project_id=project), limit=9)).items,
                (await AssetsView(models).versions(workspace, asset, limit=9)).items,
                (await RunsView(models).list(workspace, filters=RunFilters(project_id=project), limit=9)).items,
                (await RunsView(models).list(workspace, filters=RunFilters(workflow_id=workflow), limit=9)).items,
            ]
            assert [result is not None for result in gets] == [there] * 5
            assert [bool(items) for items in lists] == [there] * 7


async def test_versions_of_a_graph_and_of_a_content_stay_readable(database: str) -> None:
    workflow, asset = new_id(), new_id()
    facts = number_facts(
        [
            (workflow, WorkflowCreated(name="Flow", graph={"nodes": []})),
            *((workflow, WorkflowGraphRevised(version=n, graph={"nodes": []})) for n in (2, 3)),
            (asset, AssetCreated(type=AssetType.PROMPT, label="P", metadata={}, content=Payload(value=1))),
            *((asset, AssetContentRevised(version=n, content=Payload(value=n))) for n in (2, 3)),
        ]
    )
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await apply_facts(connection, WorkflowsProjection(most_remembered=9), facts[:3])
        await apply_facts(connection, AssetsProjection(most_remembered=9), facts[3:])
        assets, workflows = AssetsView(models), WorkflowsView(models)
        second = await assets.version(WORKSPACE, asset, 2)
        assert second is not None
        assert (second.number, second.content, second.position) == (2, Payload(value=2), 5)
        assert await assets.version(WORKSPACE, asset, 4) is None
        page = await assets.versions(WORKSPACE, asset, limit=2)
        rest = await assets.versions(WORKSPACE, asset, limit=2, before=page.next_before)
        assert [version.number for version in (*page.items, *rest.items)] == [3, 2, 1]
        assert rest.next_before is None
        assert [version.number for version in (await workflows.versions(WORKSPACE, workflow, limit=9)).items] == [
            3,
            2,
            1,
        ]


async def test_the_last_run_of_a_workflow_does_not_change_its_version(database: str) -> None:
    workflow, first, last = new_id(), new_id(), new_id()
    facts = number_facts(
        [
            (workflow, WorkflowCreated(name="Flow", graph={"nodes": []})),
            (first, run_started(workflow)),
            (last, run_started(workflow)),
        ]
    )
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await apply_facts(connection, WorkflowsProjection(most_remembered=9), facts)
        item = await WorkflowsView(models).get(WORKSPACE, workflow)
        assert item is not None
        assert (item.last_run_id, item.version, item.position) == (last, 1, 1)
        assert item.state.status is WorkflowStatus.ACTIVE
