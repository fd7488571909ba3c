"""Steps that run workflows, on a real log: one child or many, in order, bounded, and nothing twice."""

from collections.abc import Callable
from uuid import UUID

import pytest

from commands.runs.lifecycle import CancelRun, RetryRun
from domain.graphs.graph import ErrorClass
from domain.runs.facts import RunStarted, StepItemsSettled, WaitFor
from domain.runs.run import RunStatus
from domain.runs.steps import Step, StepStatus
from engine.children.step_children import create_child_id
from engine.driving import takeover
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, asks, check_history, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node


def picks(expression: str, node_id: str = "a") -> Json:
    return node(node_id, config={"expression": expression})


async def started_with(harness: Harness, child: Json, parent: Callable[[UUID], Json], inputs: Json) -> UUID:
    """Start a run of the graph that `parent` makes of the id of a workflow with the graph `child`."""
    project = await harness.project()
    inner = await harness.workflow(project, child)
    return await harness.start(await harness.workflow(project, parent(inner)), inputs)


def list_children(run: UUID, step: Step) -> list[UUID]:
    waiting = step.waiting
    assert waiting is not None
    assert waiting.waiting_for is WaitFor.CHILD
    return [create_child_id(run, 1, waiting, item) for item in range(waiting.children)]


async def test_a_workflow_node_gives_the_outputs_of_its_child(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(asks("a"), picks("inputs.word", "b")),
            lambda inner: graph(
                runs(inner, inputs={"word": "inputs.brief"}),
                picks("steps.inner.output.b", "last"),
                edges=[edge("inner", "last")],
            ),
            {"brief": "tea"},
        )
        ended = await harness.wait_until_ended(run)
        (child,) = list_children(run, ended.steps["inner"])
        begun = (await harness.list_facts(child))[0]
        check_history(await harness.list_facts(run))
        check_history(await harness.list_facts(child))
    assert ended.steps["inner"].output.value == {"a": "a #1", "b": "tea"}
    assert ended.outputs["last"].value == "tea"
    assert isinstance(begun, RunStarted)
    assert begun.parent is not None
    assert (begun.parent.run_id, begun.parent.node, begun.parent.item) == (run, "inner", 0)


async def test_a_workflow_node_fails_with_what_its_child_failed_with(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(harness, graph(asks("a", "moody")), lambda inner: graph(runs(inner)), {})
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.CHILD_FAILED
    assert "not in the mood" in ended.error.message


async def test_a_map_over_nothing_completes_at_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(harness, graph(asks("a")), lambda inner: graph(maps(inner)), {"list": []})
        ended = await harness.wait_until_ended(run)
    assert ended.outputs["each"].value == []


async def test_the_results_of_a_map_are_in_the_order_of_its_items(database: str) -> None:
    items = list(range(300))
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness, graph(picks("inputs.item")), lambda inner: graph(maps(inner, concurrency=100)), {"list": items}
        )
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert ended.outputs["each"].value == [{"a": item} for item in items]
    settled = [result.item for fact in facts if isinstance(fact, StepItemsSettled) for result in fact.items]
    assert sorted(settled) == items, "each is told of once"


async def test_no_more_children_are_under_way_than_the_map_allows(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(asks("a", "held")),
            lambda inner: graph(maps(inner, concurrency=3)),
            {"list": [1, 2, 3, 4, 5]},
        )
        await harness.wait_until_called("a", times=3)
        waiting = await harness.wait_for_step(run, "each", StepStatus.WAITING)
        begun = [len(await harness.list_facts(child)) > 0 for child in list_children(run, waiting.steps["each"])]
        assert begun == [True, True, True, False, False]
        harness.fake_model.open.set()
        await harness.wait_until_ended(run)
    assert harness.fake_model.calls["a"] == 5


async def test_a_failed_item_leaves_its_error_in_its_place(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(picks("abs(inputs.item)")),
            lambda inner: graph(maps(inner, on_item_failure="continue")),
            {"list": [-1, "no number", -3]},
        )
        ended = await harness.wait_until_ended(run)
    first, second, third = ended.steps["each"].output.value  # type: ignore[misc]  # JSON, a list as the test knows
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert second["error"]["error_class"] == "expression"


async def test_a_map_fails_once_more_items_have_failed_than_it_allows(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(picks("abs(inputs.item)")),
            lambda inner: graph(maps(inner, on_item_failure="continue", most_failed_items=1)),
            {"list": ["x", 2, "y"]},
        )
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.message.startswith("2 items failed")


async def test_a_map_that_fails_asks_the_rest_of_its_children_to_end(database: str) -> None:
    child = graph(
        picks("inputs.item", "first"),
        asks("slow", "held"),
        picks("abs('x')", "bad"),
        edges=[
            edge("first", "slow", when="steps.first.output == 'slow'"),
            edge("first", "bad", when="steps.first.output == 'bad'"),
        ],
    )
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness, child, lambda inner: graph(maps(inner, concurrency=2)), {"list": ["slow", "bad"]}
        )
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        slow, _ = list_children(run, ended.steps["each"])
        await harness.wait_until_ended(slow, RunStatus.CANCELLED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.CHILD_FAILED


async def test_a_run_that_fails_beside_its_children_asks_them_to_end(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(reviews("d")),
            lambda inner: graph(
                runs(inner), asks("wait", "held"), picks("abs('x')", "bad"), edges=[edge("wait", "bad")]
            ),
            {},
        )
        waiting = await harness.wait_for_step(run, "inner", StepStatus.WAITING)
        (child,) = list_children(run, waiting.steps["inner"])
        await harness.wait_for_step(child, "d", StepStatus.WAITING)
        harness.fake_model.open.set()
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await harness.wait_until_ended(child, RunStatus.CANCELLED)


async def test_the_children_of_a_cancelled_run_are_cancelled_with_theirs(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        leaf = await harness.workflow(project, graph(reviews("d")))
        middle = await harness.workflow(project, graph(maps(leaf)))
        run = await harness.start(await harness.workflow(project, graph(runs(middle))), {"list": [1, 2]})
        (child,) = list_children(run, (await harness.wait_for_step(run, "inner", StepStatus.WAITING)).steps["inner"])
        leaves = list_children(child, (await harness.wait_for_step(child, "each", StepStatus.WAITING)).steps["each"])
        for leaf_run in leaves:
            await harness.wait_for_step(leaf_run, "d", StepStatus.WAITING)
        await harness.does(CancelRun(target_id=run, user_id="ada"))
        for ended in (run, child, *leaves):
            await harness.wait_until_ended(ended, RunStatus.CANCELLED)


async def test_a_retried_run_begins_new_children_for_the_step_that_failed(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(harness, graph(asks("a", "moody")), lambda inner: graph(runs(inner)), {})
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await harness.does(RetryRun(target_id=run, user_id="ada"))
        await harness.wait_until(run, lambda state: state.has_ended and state.attempt == 2, "has ended again")
        await harness.does(RetryRun(target_id=run, user_id="ada"))  # the model is in the mood the third time
        last = await harness.wait_until_ended(run)
    assert last.outputs["inner"].value == {"a": "a #3"}


async def test_a_step_beside_a_map_is_tried_again_in_time(database: str) -> None:
    again = {"max_attempts": 3, "backoff": {"initial_seconds": 0.01}}
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness, graph(reviews("d")), lambda inner: graph(runs(inner), asks("m", "moody", retry=again)), {}
        )
        await harness.wait_for_step(run, "m", StepStatus.COMPLETED)


async def test_a_map_may_stand_within_a_workflow_within_a_workflow(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        leaf = await harness.workflow(project, graph(picks("inputs.item")))
        middle = await harness.workflow(project, graph(maps(leaf)))
        run = await harness.start(await harness.workflow(project, graph(runs(middle))), {"list": [1, 2]})
        ended = await harness.wait_until_ended(run)
    assert ended.outputs["inner"].value == {"each": [{"a": 1}, {"a": 2}]}
    assert set(ended.pins.workflows) == {middle, leaf}


async def test_another_engine_goes_on_in_the_middle_of_a_map(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            run = await started_with(
                harness,
                graph(asks("a", "held")),
                lambda inner: graph(maps(inner, concurrency=2)),
                {"list": list(range(5))},
            )
            await harness.wait_until_called("a", times=2)
        harness.fake_model.open.set()
        async with harness.run_engine("second"):
            ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
        for child in list_children(run, ended.steps["each"]):
            check_history(await harness.list_facts(child))
            assert sum(isinstance(event, RunStarted) for event in await harness.list_facts(child)) == 1
    settled = [result.item for fact in facts if isinstance(fact, StepItemsSettled) for result in fact.items]
    assert sorted(settled) == list(range(5))
    check_history(facts)


async def test_children_that_ended_while_no_engine_looked_are_found(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            run = await started_with(harness, graph(reviews("d")), lambda inner: graph(runs(inner)), {})
            waiting = await harness.wait_for_step(run, "inner", StepStatus.WAITING)
            (child,) = list_children(run, waiting.steps["inner"])
            await harness.wait_for_step(child, "d", StepStatus.WAITING)
        await harness.decide(child, "d")
        async with harness.run_engine("second"):
            await harness.wait_until_ended(run)


async def test_a_parent_of_children_that_wait_for_people_makes_room_for_other_runs(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=1):
        run = await started_with(harness, graph(reviews("d")), lambda inner: graph(runs(inner)), {})
        waiting = await harness.wait_for_step(run, "inner", StepStatus.WAITING)
        (child,) = list_children(run, waiting.steps["inner"])
        await harness.wait_for_step(child, "d", StepStatus.WAITING)
        await harness.wait_until_ended(await harness.begin(graph(node("other"))))
        await harness.decide(child, "d")
        await harness.wait_until_ended(run)


async def test_a_map_takes_as_many_items_as_it_allows_and_no_more(database: str) -> None:
    def parent(inner: UUID) -> Json:
        return graph(maps(inner, most_items=2))

    async with open_harness(database) as harness, harness.run_engine():
        child = graph(picks("inputs.index"))
        await harness.wait_until_ended(await started_with(harness, child, parent, {"list": [1, 2]}))
        over = await harness.wait_until_ended(
            await started_with(harness, child, parent, {"list": [1, 2, 3]}), RunStatus.FAILED
        )
    assert over.error is not None
    assert "too many items: 3" in over.error.message


async def test_a_parent_is_looked_at_though_the_engine_was_full_when_it_began(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "SKIPPED_RETRY_SECONDS", 0.1)  # so as not to wait for ten seconds
    async with open_harness(database) as harness:
        async with harness.run_engine():
            parent = await started_with(harness, graph(reviews("d")), lambda inner: graph(runs(inner)), {})
            waiting = await harness.wait_for_step(parent, "inner", StepStatus.WAITING)
            (child,) = list_children(parent, waiting.steps["inner"])
            await harness.wait_for_step(child, "d", StepStatus.WAITING)
        await harness.does(CancelRun(target_id=child, user_id="ada"))
        held = [await harness.begin(graph(asks("a", "held"))) for _ in range(4)]
        await harness.wait_for_read_models()
        async with harness.run_engine(active_runs=2):
            await harness.wait_until_called("a", times=2)
            harness.fake_model.open.set()
            for run in held:
                await harness.wait_until_ended(run)
            await harness.wait_until_ended(parent, RunStatus.FAILED)
        assert (await harness.run(child)).status is RunStatus.CANCELLED
