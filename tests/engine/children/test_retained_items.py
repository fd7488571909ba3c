"""Finished items are kept when their map restarts, by a retry of its step or of its run."""

from typing import Any, Final
from uuid import UUID

from commands.asset import ChangeAsset, CreateAsset
from commands.runs.lifecycle import CancelRun, RetryRun
from commands.workflow import ChangeWorkflow
from domain.asset import AssetType
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import ItemOutcome, RunRetried, RunStarted, StepItemsSettled, StepWaiting
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from tests.support.commands.processes import new_id
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import Harness, asks, check_history, open_harness
from tests.support.graphs import Json, edge, graph, node

MOODY: Final = ["tea", "ink", "bad"]
"""The last of these is asked of a model that fails twice."""


def asks_for_item(node_id: str, model: str) -> Json:
    return node(node_id, kind="prompt", config={"model": f"fake/{model}", "template": "{{ inputs.item }}"})


ITEM: Final = graph(
    node("which", config={"expression": "inputs.item"}),
    asks_for_item("easy", "free"),
    asks_for_item("hard", "moody"),
    edges=[
        edge("which", "easy", when="steps.which.output != 'bad'"),
        edge("which", "hard", when="steps.which.output == 'bad'"),
    ],
)


async def workflows(harness: Harness, child: Json = ITEM, **fields: Any) -> tuple[UUID, UUID]:  # noqa: ANN401  # JSON
    """Create a workflow with a map over `inputs.list`, one item after the other, and the workflow that it maps."""
    project = await harness.project()
    inner = await harness.workflow(project, child)
    return await harness.workflow(project, parent(inner, **fields)), inner


def parent(inner: UUID, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return graph({**maps(inner, concurrency=1), **fields}, node("end"), edges=[edge("each", "end")])


async def start_failing(harness: Harness, workflow: UUID) -> UUID:
    run = await harness.start(workflow, {"list": MOODY})
    await harness.wait_until_ended(run, RunStatus.FAILED)
    return run


async def retry_and_wait(harness: Harness, run: UUID, attempt: int, *, newest_graph: bool = False) -> Run:
    await harness.does(RetryRun(target_id=run, user_id="ada", newest_graph=newest_graph))
    return await harness.wait_until(run, lambda state: state.has_ended and state.attempt == attempt, "has ended again")


def calls(harness: Harness) -> list[int]:
    return [harness.fake_model.calls[item] for item in MOODY]


async def test_a_retried_run_has_only_its_unfinished_items_done_again(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow, _ = await workflows(harness)
        run = await start_failing(harness, workflow)
        assert calls(harness) == [1, 1, 1]
        again = await retry_and_wait(harness, run, 2)
        assert again.status is RunStatus.FAILED
        ended = await retry_and_wait(harness, run, 3)
        facts = await harness.list_facts(run)
        check_history(await harness.list_facts(ended.steps["each"].items[2].run_id))
    assert ended.status is RunStatus.COMPLETED
    assert calls(harness) == [1, 1, 3]
    assert [fact.items_kept for fact in facts if isinstance(fact, RunRetried)] == [("each",), ("each",)]
    assert [fact.resumes for fact in facts if isinstance(fact, StepWaiting)] == [False, True, True]
    told = [
        (result.item, result.outcome) for fact in facts if isinstance(fact, StepItemsSettled) for result in fact.items
    ]
    done, bad = ItemOutcome.COMPLETED, ItemOutcome.FAILED
    assert told == [(0, done), (1, done), (2, bad), (2, bad), (2, done)], "what is kept is told of once"
    output: Any = ended.outputs["end"].value
    assert [list(item.values())[-1] for item in output] == ["tea #1", "ink #1", "bad #3"]


async def test_a_map_whose_policy_tries_again_has_only_its_unfinished_items_done_again(database: str) -> None:
    again = {"max_attempts": 3, "retry_on": ["child_failed"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with open_harness(database) as harness, harness.run_engine():
        workflow, _ = await workflows(harness, retry=again)
        ended = await harness.wait_until_ended(await harness.start(workflow, {"list": MOODY}))
    assert calls(harness) == [1, 1, 3]
    assert ended.steps["each"].attempt == 3
    assert ended.kept_items == {}


async def test_a_cancelled_run_goes_on_with_the_items_that_were_under_way(database: str) -> None:
    child = graph(
        node("which", config={"expression": "inputs.item"}),
        asks_for_item("easy", "free"),
        asks("hard", "held"),
        edges=ITEM["edges"],
    )
    async with open_harness(database) as harness, harness.run_engine():
        workflow, _ = await workflows(harness, child)
        run = await harness.start(workflow, {"list": MOODY})
        await harness.wait_until_called("hard")
        await harness.wait_until(run, lambda state: len(state.steps["each"].items) == 2, "has two items")
        await harness.does(CancelRun(target_id=run, user_id="ada"))
        await harness.wait_until_ended(run, RunStatus.CANCELLED)
        harness.fake_model.open.set()
        ended = await retry_and_wait(harness, run, 2)
    assert ended.status is RunStatus.COMPLETED
    assert (harness.fake_model.calls["tea"], harness.fake_model.calls["ink"], harness.fake_model.calls["hard"]) == (
        1,
        1,
        2,
    )


async def test_another_engine_goes_on_with_a_map_that_resumed(database: str) -> None:
    child = graph(asks_for_item("a", "moody"), asks("b", "held"), edges=[edge("a", "b")])
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            harness.fake_model.open.set()
            harness.fake_model.calls.update(tea=2)
            workflow, _ = await workflows(harness, child)
            run = await harness.start(workflow, {"list": ["tea", "ink"]})
            await harness.wait_until_ended(run, RunStatus.FAILED)
            harness.fake_model.open.clear()
            harness.fake_model.calls.update(ink=1)
            await harness.does(RetryRun(target_id=run, user_id="ada"))
            await harness.wait_until_called("b", times=2)
        harness.fake_model.open.set()
        async with harness.run_engine("second"):
            ended = await harness.wait_until(
                run, lambda state: state.has_ended and state.attempt == 2, "has ended again"
            )
    assert ended.status is RunStatus.COMPLETED
    assert harness.fake_model.calls["tea"] == 3, "it was asked once"


async def test_items_are_kept_on_a_newer_graph_that_does_them_the_same_way(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow, inner = await workflows(harness)
        run = await start_failing(harness, workflow)
        newer = parent(inner)
        newer["nodes"].append(node("more", config={"expression": "`1`"}))
        await harness.does(ChangeWorkflow(target_id=workflow, graph=newer))
        await retry_and_wait(harness, run, 2, newest_graph=True)
        ended = await retry_and_wait(harness, run, 3, newest_graph=True)
    assert (ended.status, ended.workflow_version) == (RunStatus.COMPLETED, 2)
    assert calls(harness) == [1, 1, 3]


async def test_no_item_is_kept_where_the_newest_workflow_does_it_differently(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow, inner = await workflows(harness)
        run = await start_failing(harness, workflow)
        await harness.does(ChangeWorkflow(target_id=inner, graph=graph(asks_for_item("easy", "free"))))
        ended = await retry_and_wait(harness, run, 2, newest_graph=True)
        [again] = [fact for fact in await harness.list_facts(run) if isinstance(fact, RunRetried)]
    assert again.items_kept == ()
    assert calls(harness) == [2, 2, 2]
    assert ended.status is RunStatus.COMPLETED


async def test_no_item_is_kept_where_the_map_itself_is_another(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow, inner = await workflows(harness)
        run = await start_failing(harness, workflow)
        other = graph({**maps(inner, concurrency=1, inputs={"item": "item"})}, node("end"), edges=[edge("each", "end")])
        await harness.does(ChangeWorkflow(target_id=workflow, graph=other))
        await retry_and_wait(harness, run, 2, newest_graph=True)
    assert calls(harness) == [2, 2, 2]


async def test_no_item_is_kept_where_what_it_names_has_a_newer_version(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        asset = new_id()
        text = Payload(value="{{ variables.of }}")
        await harness.does(
            CreateAsset(
                target_id=asset, project_id=project, type=AssetType.PROMPT, label="p", metadata={}, content=text
            )
        )
        config = {"model": "fake/free", "asset_id": from_uuid("ast", asset), "variables": {"of": "inputs.item"}}
        child = graph(
            node("a", kind="prompt", config=config),
            node("b", config={"expression": "abs(inputs.item)"}),
            edges=[edge("a", "b", when="inputs.item == 'bad'")],
        )
        inner = await harness.workflow(project, child)
        middle = await harness.workflow(project, graph(node("w", kind="workflow", config=_of(inner))))
        run = await start_failing(harness, await harness.workflow(project, parent(middle)))
        await retry_and_wait(harness, run, 2, newest_graph=True)
        assert calls(harness) == [1, 1, 2]
        await harness.does(ChangeAsset(target_id=asset, content=Payload(value="again {{ variables.of }}")))
        await retry_and_wait(harness, run, 3, newest_graph=True)
    assert (harness.fake_model.calls["again tea"], harness.fake_model.calls["again bad"]) == (1, 1)


def _of(workflow: UUID) -> Json:
    return {"workflow_id": from_uuid("wf", workflow), "inputs": {"item": "inputs.item"}}


async def test_no_item_is_kept_where_the_dataset_has_a_newer_version(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        rows = new_id()
        await harness.does(
            CreateAsset(
                target_id=rows,
                project_id=project,
                type=AssetType.DATASET,
                label="rows",
                metadata={},
                content=Payload(value=MOODY),
            )
        )
        inner = await harness.workflow(project, ITEM)
        each = maps(inner, items=None, dataset_id=from_uuid("ast", rows), concurrency=1)
        run = await harness.start(await harness.workflow(project, graph(each)))
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await harness.does(ChangeAsset(target_id=rows, content=Payload(value=["ink", "tea"])))
        kept = await retry_and_wait(harness, run, 2)
        assert (kept.status, calls(harness)) == (RunStatus.FAILED, [1, 1, 2])
        ended = await retry_and_wait(harness, run, 3, newest_graph=True)
    assert ended.outputs["each"].value == [
        {"easy": "ink #2"},
        {"easy": "tea #2"},
    ]


async def test_children_are_begun_once_for_each_time_that_they_are_needed(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow, _ = await workflows(harness)
        run = await start_failing(harness, workflow)
        await retry_and_wait(harness, run, 2)
        ended = await retry_and_wait(harness, run, 3)
        children = [result.run_id for result in ended.steps["each"].items.values()]
        begun = [fact for child in children for fact in await harness.list_facts(child) if isinstance(fact, RunStarted)]
    assert [child.parent.item for child in begun if child.parent is not None] == [0, 1, 2]
    assert len(set(children)) == 3
    assert ended.steps["each"].status is StepStatus.COMPLETED
