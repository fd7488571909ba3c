"""Loading: what a command may see, and a cache that keeps nouns and workspaces apart."""

from typing import Any
from uuid import UUID

from commands.aggregates import ASSET, PROJECT, RUN, WORKFLOW, Noun
from commands.asset import ChangeAsset, CreateAsset
from commands.project import ChangeProject
from commands.repository import Sources, Streams
from commands.runs.start import DecideStep, StartRun
from commands.workflow import ChangeWorkflow, CreateWorkflow, DuplicateWorkflow
from domain.asset import AssetNotFound, AssetStatus, AssetType
from domain.graphs.validation.check import GraphUnacceptable
from domain.ids import from_uuid
from domain.payload import NOTHING, Payload
from domain.project import ProjectNotActive, ProjectNotFound, ProjectStatus
from domain.runs.refusals import RunNotFound
from domain.workflow import WorkflowNotActive, WorkflowNotFound, WorkflowStatus
from store.log.records import Guard
from tests.support.commands.processes import ELSEWHERE, GRAPH, Process, new_id, process
from tests.support.graphs import Json, graph, node
from tests.support.store.given import WORKSPACE


def start(workflow: UUID) -> StartRun:
    return StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING)


def decide(run: UUID) -> DecideStep:
    return DecideStep(
        target_id=run, node="a", outcome="approve", data={}, data_payload=NOTHING, comment=None, user_id="ada"
    )


def asking(asset: UUID) -> Json:
    return graph(node(kind="prompt", config={"model": "openai/gpt-5", "asset_id": from_uuid("ast", asset)}))


async def create_asset(first: Process, project: UUID) -> UUID:
    asset = new_id()
    content = Payload(value="Be warm.")
    await first.does(
        CreateAsset(target_id=asset, project_id=project, type=AssetType.PROMPT, label="Tone", content=content)
    )
    return asset


async def one_of_each(first: Process) -> tuple[UUID, UUID, UUID, UUID]:
    project = await first.project()
    workflow, asset = await first.workflow(project), await create_asset(first, project)
    run = await first.does(start(workflow))
    return project, workflow, asset, run.loaded.stream_id


async def test_ids_of_another_workspace_are_not_found(database: str) -> None:
    async with process(database) as first:
        project, workflow, asset, run = await one_of_each(first)
        refused = [
            await first.find_refusal(command, ELSEWHERE)
            for command in (
                ChangeProject(target_id=project, name="Mine"),
                CreateWorkflow(target_id=new_id(), project_id=project, name="Flow", graph=GRAPH),
                ChangeWorkflow(target_id=workflow, name="Mine"),
                DuplicateWorkflow(target_id=new_id(), source_id=workflow),
                CreateAsset(target_id=new_id(), project_id=project, type=AssetType.PROMPT, label="x", content=NOTHING),
                ChangeAsset(target_id=asset, label="Mine"),
                start(workflow),
                decide(run),
            )
        ]
    assert refused == [
        ProjectNotFound, ProjectNotFound, WorkflowNotFound, WorkflowNotFound,
        ProjectNotFound, AssetNotFound, WorkflowNotFound, RunNotFound,
    ]  # fmt: skip


async def test_ids_of_another_noun_are_not_found(database: str) -> None:
    async with process(database) as first, process(database) as cold:
        project, workflow, asset, run = await one_of_each(first)
        for found in (first, cold):  # with a warm cache and without
            refused = [
                await found.find_refusal(command)
                for command in (
                    ChangeProject(target_id=workflow, name="x"),
                    ChangeWorkflow(target_id=run, name="x"),
                    ChangeAsset(target_id=project, label="x"),
                    start(asset),
                    decide(workflow),
                )
            ]
            assert refused == [ProjectNotFound, WorkflowNotFound, AssetNotFound, WorkflowNotFound, RunNotFound]


async def test_a_stream_is_loaded_as_its_own_noun_only(database: str) -> None:
    async with process(database) as first:
        ids = await one_of_each(first)
        cold = Streams(first.log, most_cached=10)
        nouns: list[Noun[Any]] = [PROJECT, WORKFLOW, ASSET, RUN]
        for streams in (first.streams, cold):
            for index, noun in enumerate(nouns):
                loaded = [await streams.load(noun, stream) is not None for stream in ids]
                reloaded = [await streams.reload(noun, stream) is not None for stream in ids]
                past = [await streams.read_at(noun, stream, 1) is not None for stream in ids]
                assert loaded == reloaded == past == [index == other for other in range(4)], noun.name


async def test_ids_of_nothing_are_not_found(database: str) -> None:
    async with process(database) as first:
        assert await first.find_refusal(start(new_id())) is WorkflowNotFound
        assert await first.find_refusal(ChangeProject(target_id=new_id())) is ProjectNotFound


async def test_nothing_begins_or_changes_in_an_archived_project(database: str) -> None:
    async with process(database) as first:
        project, workflow, asset, _ = await one_of_each(first)
        await first.does(ChangeProject(target_id=project, status=ProjectStatus.ARCHIVED))
        for command in (
            CreateWorkflow(target_id=new_id(), project_id=project, name="Flow", graph=GRAPH),
            ChangeWorkflow(target_id=workflow, name="x"),
            DuplicateWorkflow(target_id=new_id(), source_id=workflow),
            CreateAsset(target_id=new_id(), project_id=project, type=AssetType.PROMPT, label="x", content=NOTHING),
            ChangeAsset(target_id=asset, label="x"),
            start(workflow),
        ):
            assert await first.find_refusal(command) is ProjectNotActive, command


async def test_an_archived_workflow_is_not_run(database: str) -> None:
    async with process(database) as first:
        workflow = await first.workflow(await first.project())
        await first.does(ChangeWorkflow(target_id=workflow, status=WorkflowStatus.ARCHIVED))
        assert await first.find_refusal(start(workflow)) is WorkflowNotActive


async def test_a_graph_may_name_active_assets_of_its_own_project_only(database: str) -> None:
    async with process(database) as first:
        project, other = await first.project(), await first.project()
        own, others, gone = [await create_asset(first, where) for where in (project, other, project)]
        await first.does(ChangeAsset(target_id=gone, status=AssetStatus.ARCHIVED))
        refused = [
            await first.find_refusal(
                CreateWorkflow(target_id=new_id(), project_id=project, name="Flow", graph=asking(asset))
            )
            for asset in (own, others, gone, project)
        ]
    assert refused == [None, GraphUnacceptable, GraphUnacceptable, GraphUnacceptable]


async def test_a_run_pins_the_versions_of_what_its_graph_names(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        asset = await create_asset(first, project)
        child = await first.workflow(project)
        raw = asking(asset)
        raw["nodes"].append(node("sub", kind="workflow", config={"workflow_id": from_uuid("wf", child)}))
        workflow = await first.workflow(project, raw)
        await first.does(ChangeAsset(target_id=asset, content=Payload(value="Be brief.")))
        run = await first.state(start(workflow))
    assert (run.pins.assets, run.pins.workflows) == ({asset: 2}, {child: 1})


async def test_a_change_that_gives_edges_alone_still_knows_what_the_nodes_name(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        raw = asking(await create_asset(first, project))
        raw["nodes"].append(node("b"))
        workflow = await first.workflow(project, raw)
        revised = await first.state(ChangeWorkflow(target_id=workflow, graph={"edges": [{"from": "a", "to": "b"}]}))
    assert (revised.version, len(revised.graph.edges)) == (2, 1)


async def test_a_copy_lands_in_the_source_project_or_in_the_one_named(database: str) -> None:
    async with process(database) as first:
        project, other = await first.project(), await first.project()
        workflow = await first.workflow(project)
        near = await first.does(DuplicateWorkflow(target_id=new_id(), source_id=workflow))
        far = await first.does(DuplicateWorkflow(target_id=new_id(), source_id=workflow, project_id=other))
    assert (near.loaded.project_id, far.loaded.project_id) == (project, other)
    assert near.loaded.state.duplicated_from == workflow


async def test_the_cache_forgets_what_was_used_least_recently(database: str) -> None:
    async with process(database) as reader, process(database) as other:
        streams = Streams(reader.log, most_cached=2)
        first, second, third = [await reader.project() for _ in range(3)]
        for project in (first, second, first, third):  # the second goes
            await streams.load(PROJECT, project)
        for project in (first, second, third):
            await other.does(ChangeProject(target_id=project, name="Relaunch"))
        # The first is moved to the end by being asked for, so that reading the second again puts the third out.
        versions = [loaded.version for p in (first, second, first) if (loaded := await streams.load(PROJECT, p))]
    assert versions == [1, 2, 1]


async def test_an_older_fold_does_not_replace_a_newer_one(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        old = await first.streams.read_at(PROJECT, project, 1)
        await first.does(ChangeProject(target_id=project, name="Relaunch"))
        assert old is not None
        first.streams.keep(old)
        kept = await first.streams.load(PROJECT, project)
    assert kept is not None
    assert kept.version == 2


async def test_a_decision_sees_one_version_of_a_stream_that_moves_while_it_loads(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        for fresh in (False, True):
            sources = Sources(first.streams, WORKSPACE, fresh=fresh)
            loaded = await sources.load(PROJECT, project)
            await first.does(ChangeProject(target_id=project, name=f"Relaunch {loaded.version}"))
            again = await sources.load(PROJECT, project)
            assert again == loaded
            assert sources.guards(new_id()) == (Guard(project, loaded.version),)
            assert await sources.find(WORKFLOW, project) is None
