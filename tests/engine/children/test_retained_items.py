"""Finished items: kept when their map is begun anew, by the policy of its step or by a retry of its run."""

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
from tests.support.engine.harness import Site, asks, check_history, site
from tests.support.graphs import Json, edge, graph, node

MOODY: Final = ["tea", "ink", "bad"]
"""The last of these is asked of a model that fails twice."""


def asks_for_item(node_id: str, model: str) -> Json:
    return node(node_id, kind="prompt", config={"model": f"gate/{model}", "template": "{{ inputs.item }}"})


ITEM: Final = graph(
    node("which", config={"expression": "inputs.item"}),
    asks_for_item("easy", "free"),
    asks_for_item("hard", "moody"),
    edges=[
        edge("which", "easy", when="steps.which.output != 'bad'"),
        edge("which", "hard", when="steps.which.output == 'bad'"),
    ],
)


async def workflows(here: Site, child: Json = ITEM, **fields: Any) -> tuple[UUID, UUID]:  # noqa: ANN401  # JSON
    """Make a workflow with a map over `inputs.list`, one item after the other, and what it maps."""
    project = await here.project()
    inner = await here.workflow(project, child)
    return await here.workflow(project, parent(inner, **fields)), inner


def parent(inner: UUID, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return graph({**maps(inner, concurrency=1), **fields}, node("end"), edges=[edge("each", "end")])


async def failed(here: Site, workflow: UUID) -> UUID:
    run = await here.start(workflow, {"list": MOODY})
    await here.ended(run, RunStatus.FAILED)
    return run


async def retried(here: Site, run: UUID, attempt: int, *, newest_graph: bool = False) -> Run:
    await here.does(RetryRun(target_id=run, user_id="ada", newest_graph=newest_graph))
    return await here.until(run, lambda state: state.has_ended and state.attempt == attempt, "has ended again")


def calls(here: Site) -> list[int]:
    return [here.gate.calls[item] for item in MOODY]


async def test_a_retried_run_has_only_its_unfinished_items_done_again(database: str) -> None:
    async with site(database) as here, here.engaged():
        workflow, _ = await workflows(here)
        run = await failed(here, workflow)
        assert calls(here) == [1, 1, 1]
        again = await retried(here, run, 2)
        assert again.status is RunStatus.FAILED
        ended = await retried(here, run, 3)
        facts = await here.of(run)
        check_history(await here.of(ended.steps["each"].items[2].run_id))
    assert ended.status is RunStatus.COMPLETED
    assert calls(here) == [1, 1, 3]
    assert [fact.items_kept for fact in facts if isinstance(fact, RunRetried)] == [("each",), ("each",)]
    assert [fact.resumes for fact in facts if isinstance(fact, StepWaiting)] == [False, True, True]
    told = [(one.item, one.outcome) for fact in facts if isinstance(fact, StepItemsSettled) for one in fact.items]
    done, bad = ItemOutcome.COMPLETED, ItemOutcome.FAILED
    assert told == [(0, done), (1, done), (2, bad), (2, bad), (2, done)], "what is kept is told of once"
    output: Any = ended.outputs["end"].value
    assert [list(one.values())[-1] for one in output] == ["tea #1", "ink #1", "bad #3"]


async def test_a_map_whose_policy_tries_again_has_only_its_unfinished_items_done_again(database: str) -> None:
    again = {"max_attempts": 3, "retry_on": ["child_failed"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with site(database) as here, here.engaged():
        workflow, _ = await workflows(here, retry=again)
        ended = await here.ended(await here.start(workflow, {"list": MOODY}))
    assert calls(here) == [1, 1, 3]
    assert ended.steps["each"].attempt == 3
    assert ended.kept_items == {}


async def test_a_cancelled_run_goes_on_with_the_items_that_were_under_way(database: str) -> None:
    child = graph(
        node("which", config={"expression": "inputs.item"}),
        asks_for_item("easy", "free"),
        asks("hard", "held"),
        edges=ITEM["edges"],
    )
    async with site(database) as here, here.engaged():
        workflow, _ = await workflows(here, child)
        run = await here.start(workflow, {"list": MOODY})
        await here.asked("hard")
        await here.until(run, lambda state: len(state.steps["each"].items) == 2, "has two items")
        await here.does(CancelRun(target_id=run, user_id="ada"))
        await here.ended(run, RunStatus.CANCELLED)
        here.gate.open.set()
        ended = await retried(here, run, 2)
    assert ended.status is RunStatus.COMPLETED
    assert (here.gate.calls["tea"], here.gate.calls["ink"], here.gate.calls["hard"]) == (1, 1, 2)


async def test_another_engine_goes_on_with_a_map_that_resumed(database: str) -> None:
    child = graph(asks_for_item("a", "moody"), asks("b", "held"), edges=[edge("a", "b")])
    async with site(database) as here:
        async with here.engaged("first"):
            here.gate.open.set()
            here.gate.calls.update(tea=2)
            workflow, _ = await workflows(here, child)
            run = await here.start(workflow, {"list": ["tea", "ink"]})
            await here.ended(run, RunStatus.FAILED)
            here.gate.open.clear()
            here.gate.calls.update(ink=1)
            await here.does(RetryRun(target_id=run, user_id="ada"))
            await here.asked("b", times=2)
        here.gate.open.set()
        async with here.engaged("second"):
            ended = await here.until(run, lambda state: state.has_ended and state.attempt == 2, "has ended again")
    assert ended.status is RunStatus.COMPLETED
    assert here.gate.calls["tea"] == 3, "it was asked once"


async def test_items_are_kept_on_a_newer_graph_that_does_them_the_same_way(database: str) -> None:
    async with site(database) as here, here.engaged():
        workflow, inner = await workflows(here)
        run = await failed(here, workflow)
        newer = parent(inner)
        newer["nodes"].append(node("more", config={"expression": "`1`"}))
        await here.does(ChangeWorkflow(target_id=workflow, graph=newer))
        await retried(here, run, 2, newest_graph=True)
        ended = await retried(here, run, 3, newest_graph=True)
    assert (ended.status, ended.workflow_version) == (RunStatus.COMPLETED, 2)
    assert calls(here) == [1, 1, 3]


async def test_no_item_is_kept_where_the_newest_workflow_does_it_differently(database: str) -> None:
    async with site(database) as here, here.engaged():
        workflow, inner = await workflows(here)
        run = await failed(here, workflow)
        await here.does(ChangeWorkflow(target_id=inner, graph=graph(asks_for_item("easy", "free"))))
        ended = await retried(here, run, 2, newest_graph=True)
        [again] = [fact for fact in await here.of(run) if isinstance(fact, RunRetried)]
    assert again.items_kept == ()
    assert calls(here) == [2, 2, 2]
    assert ended.status is RunStatus.COMPLETED


async def test_no_item_is_kept_where_the_map_itself_is_another(database: str) -> None:
    async with site(database) as here, here.engaged():
        workflow, inner = await workflows(here)
        run = await failed(here, workflow)
        other = graph({**maps(inner, concurrency=1, inputs={"item": "item"})}, node("end"), edges=[edge("each", "end")])
        await here.does(ChangeWorkflow(target_id=workflow, graph=other))
        await retried(here, run, 2, newest_graph=True)
    assert calls(here) == [2, 2, 2]


async def test_no_item_is_kept_where_what_it_names_has_a_newer_version(database: str) -> None:
    async with site(database) as here, here.engaged():
        project = await here.project()
        asset = new_id()
        text = Payload(value="{{ variables.of }}")
        await here.does(
            CreateAsset(
                target_id=asset, project_id=project, type=AssetType.PROMPT, label="p", metadata={}, content=text
            )
        )
        config = {"model": "gate/free", "asset_id": from_uuid("ast", asset), "variables": {"of": "inputs.item"}}
        child = graph(
            node("a", kind="prompt", config=config),
            node("b", config={"expression": "abs(inputs.item)"}),
            edges=[edge("a", "b", when="inputs.item == 'bad'")],
        )
        inner = await here.workflow(project, child)
        middle = await here.workflow(project, graph(node("w", kind="workflow", config=_of(inner))))
        run = await failed(here, await here.workflow(project, parent(middle)))
        await retried(here, run, 2, newest_graph=True)
        assert calls(here) == [1, 1, 2]
        await here.does(ChangeAsset(target_id=asset, content=Payload(value="again {{ variables.of }}")))
        await retried(here, run, 3, newest_graph=True)
    assert (here.gate.calls["again tea"], here.gate.calls["again bad"]) == (1, 1)


def _of(workflow: UUID) -> Json:
    return {"workflow_id": from_uuid("wf", workflow), "inputs": {"item": "inputs.item"}}


async def test_no_item_is_kept_where_the_dataset_has_a_newer_version(database: str) -> None:
    async with site(database) as here, here.engaged():
        project = await here.project()
        rows = new_id()
        await here.does(
            CreateAsset(
                target_id=rows,
                project_id=project,
                type=AssetType.DATASET,
                label="rows",
                metadata={},
                content=Payload(value=MOODY),
            )
        )
        inner = await here.workflow(project, ITEM)
        each = maps(inner, items=None, dataset_id=from_uuid("ast", rows), concurrency=1)
        run = await here.start(await here.workflow(project, graph(each)))
        await here.ended(run, RunStatus.FAILED)
        await here.does(ChangeAsset(target_id=rows, content=Payload(value=["ink", "tea"])))
        kept = await retried(here, run, 2)
        assert (kept.status, calls(here)) == (RunStatus.FAILED, [1, 1, 2])
        ended = await retried(here, run, 3, newest_graph=True)
    assert ended.outputs["each"].value == [
        {"easy": "ink #2"},
        {"easy": "tea #2"},
    ]


async def test_children_are_begun_once_for_each_time_that_they_are_needed(database: str) -> None:
    async with site(database) as here, here.engaged():
        workflow, _ = await workflows(here)
        run = await failed(here, workflow)
        await retried(here, run, 2)
        ended = await retried(here, run, 3)
        children = [one.run_id for one in ended.steps["each"].items.values()]
        begun = [fact for child in children for fact in await here.of(child) if isinstance(fact, RunStarted)]
    assert [one.parent.item for one in begun if one.parent is not None] == [0, 1, 2]
    assert len(set(children)) == 3
    assert ended.steps["each"].status is StepStatus.COMPLETED
