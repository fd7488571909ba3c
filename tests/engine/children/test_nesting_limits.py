"""Workflows within each other: bounded, and never within themselves."""

import pytest

from commands.runs.lifecycle import CancelRun
from commands.runs.start import StartRun
from commands.workflow import ChangeWorkflow
from domain.payload import Payload
from domain.runs.refusals import WorkflowContainsItself, WorkflowTooDeep
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.children.step_children import create_child_id
from projections.read_models.runs_view import RunsView
from store.contents import resolve
from tests.support.commands.processes import new_id
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import open_harness, reviews
from tests.support.graphs import Json, graph, node
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually


async def test_a_workflow_that_contains_itself_cannot_be_run(database: str) -> None:
    async with open_harness(database) as harness:
        project = await harness.project()
        inner = await harness.workflow(project)
        outer = await harness.workflow(project, graph(runs(inner)))
        await harness.does(ChangeWorkflow(target_id=inner, graph=graph(runs(outer))))
        start = StartRun(target_id=new_id(), workflow_id=outer, inputs=Payload(value={}))
        assert await harness.find_refusal(start) is WorkflowContainsItself


async def test_workflows_within_each_other_are_bounded(database: str) -> None:
    async with open_harness(database) as harness:
        project = await harness.project()
        workflow = await harness.workflow(project)
        for _ in range(9):
            workflow = await harness.workflow(project, graph(runs(workflow)))
        start = StartRun(target_id=new_id(), workflow_id=workflow, inputs=Payload(value={}))
        assert await harness.find_refusal(start) is None
        deeper = await harness.workflow(project, graph(runs(workflow)))
        start = StartRun(target_id=new_id(), workflow_id=deeper, inputs=Payload(value={}))
        assert await harness.find_refusal(start) is WorkflowTooDeep


async def test_a_map_of_ten_thousand_items_ends_and_one_more_is_refused(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(node("a", config={"expression": "inputs.index"})))
        outer = await harness.workflow(project, graph(maps(inner, concurrency=100)))
        run = await harness.start(outer, {"list": [0] * 10_000})

        async def has_ended() -> bool:
            return (await harness.run(run)).has_ended

        await eventually(has_ended, what="the map has ended", seconds=300)
        runs_view = RunsView(harness.models)

        async def is_visible() -> bool:
            view = await runs_view.get(WORKSPACE, run)
            return view is not None and view.state.has_ended

        await eventually(is_visible, what="the read model tells of its end")
        whole = await harness.wait_until_ended(run)
        over = await harness.wait_until_ended(await harness.start(outer, {"list": [0] * 10_001}), RunStatus.FAILED)
        output = await resolve(harness.contents, WORKSPACE, whole.outputs["each"])
    assert output == [{"a": index} for index in range(10_000)]
    assert over.error is not None
    assert "too many items: 10001" in over.error.message


async def test_no_child_begins_once_its_run_is_cancelled(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(reviews("review")))
        run = await harness.start(await harness.workflow(project, graph(maps(inner, concurrency=3))), {"list": [0] * 9})
        await harness.wait_for_step(run, "each", StepStatus.WAITING)
        await harness.does(CancelRun(target_id=run, user_id="ada"))
        ended = await harness.wait_until_ended(run, RunStatus.CANCELLED)
        waiting = ended.steps["each"].waiting
        assert waiting is not None
        children = [create_child_id(run, 1, waiting, item) for item in range(9)]

        async def all_over() -> bool:
            return all(child.status in (RunStatus.ABSENT, RunStatus.CANCELLED) for child in await states())

        async def states() -> list[Run]:
            return [await harness.run(child) for child in children]

        await eventually(all_over, what="every child that has begun is cancelled")
        before = await states()
    assert sum(child.status is RunStatus.CANCELLED for child in before) <= 3


@pytest.mark.parametrize(
    ("inputs", "said"),
    [({}, "null"), ({"list": {"a": 1}}, "an object"), ({"list": "a, b"}, "a string"), ({"list": 3}, "a number")],
)
async def test_a_map_over_what_is_no_list_says_what_it_is(database: str, inputs: Json, said: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        parent = await harness.workflow(project, graph(maps(await harness.workflow(project))))
        ended = await harness.wait_until_ended(await harness.start(parent, inputs), RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.message == f"The items of a map must be a list, but the query in items returned {said}"
