"""Steps that run workflows have the time that they are given: what is done by then counts, the rest is ended."""

from typing import Any
from uuid import UUID

from domain.graphs.graph import ErrorClass
from domain.runs.facts import ItemOutcome, StepFailed, StepStarted, StepWaiting
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from engine.children.step_children import create_child_id
from tests.support.commands.processes import now
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, asks, check_history, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.waiting import eventually

SHORT_SECONDS = 0.3
LONG_SECONDS = 3_600


async def start_parent(
    harness: Harness,
    child: Json,
    inputs: Json | None = None,
    *,
    mapped: bool,
    **policies: Any,  # noqa: ANN401  # JSON
) -> UUID:
    project = await harness.project()
    inner = await harness.workflow(project, child)
    step = maps(inner, "each") if mapped else runs(inner, "each")
    return await harness.start(await harness.workflow(project, graph({**step, **policies})), inputs)


def list_children(run: UUID, waiting: StepWaiting) -> list[UUID]:
    return [create_child_id(run, 1, waiting, item) for item in range(waiting.children)]


async def test_the_total_timeout_ends_a_step_that_waits_for_a_run(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_parent(harness, graph(reviews("d")), mapped=False, total_timeout_seconds=SHORT_SECONDS)
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
        waiting = ended.steps["each"].waiting
        assert waiting is not None
        (child,) = list_children(run, waiting)
        await harness.wait_until_ended(child, RunStatus.CANCELLED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.TIMEOUT
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert waiting.until is not None
    assert failed.failed_at >= waiting.until
    check_history(facts)


async def test_a_parent_that_is_in_no_hand_is_ended_by_a_timer(database: str) -> None:
    seconds = 2.5  # longer than a parent stays in memory without a child's end
    async with open_harness(database) as harness, harness.run_engine(active_runs=1):
        run = await start_parent(harness, graph(reviews("d")), mapped=False, timeout_seconds=seconds)
        await harness.wait_for_step(run, "each", StepStatus.WAITING)
        await harness.wait_until_ended(await harness.begin(graph(node("other"))))
        await harness.wait_until_ended(run, RunStatus.FAILED)


async def test_a_step_that_rests_beside_another_is_ended_by_a_timer(database: str) -> None:
    seconds = 1.5  # longer than the driver looks after children that do not end
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(reviews("d")))
        beside = graph({**runs(inner, "each"), "timeout_seconds": seconds}, asks("a", "held"))
        await harness.wait_until_ended(await harness.start(await harness.workflow(project, beside)), RunStatus.FAILED)
    assert harness.fake_model.aborted["a"] == 1


async def test_what_has_ended_in_time_counts_and_is_kept_when_the_step_is_tried_again(database: str) -> None:
    child = graph(
        node("which", config={"expression": "inputs.item"}),
        asks("slow", "held"),
        edges=[edge("which", "slow", when="steps.which.output == 'slow'")],
    )
    again = {"max_attempts": 2, "retry_on": ["timeout"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_parent(
            harness, child, {"list": ["x", "slow", "y"]}, mapped=True, timeout_seconds=SHORT_SECONDS, retry=again
        )
        await harness.wait_until(
            run, lambda state: any(step.attempt == 2 for step in state.steps.values()), "is tried again"
        )
        harness.fake_model.open.set()
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    each = ended.steps["each"]
    assert [result.outcome for result in each.items.values()] == [ItemOutcome.COMPLETED] * 3
    assert [fact.attempt for fact in facts if isinstance(fact, StepStarted)] == [1, 2]
    first, second = (fact for fact in facts if isinstance(fact, StepWaiting))
    assert [result.run_id for _, result in sorted(each.items.items())] == [
        create_child_id(run, 1, first, 0),
        create_child_id(run, 1, second, 1),
        create_child_id(run, 1, first, 2),
    ]


async def test_an_engine_that_comes_too_late_ends_the_step_and_begins_nothing(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            run = await start_parent(harness, graph(reviews("d")), mapped=False, total_timeout_seconds=SHORT_SECONDS)
            waiting = (await harness.wait_for_step(run, "each", StepStatus.WAITING)).steps["each"].waiting
            assert waiting is not None
            (child,) = list_children(run, waiting)
            await harness.wait_for_step(child, "d", StepStatus.WAITING)

        async def is_over() -> bool:
            return waiting.until is not None and now() >= waiting.until

        await eventually(is_over, what="the time of the step is over")
        async with harness.run_engine("second"):
            await harness.wait_until_ended(run, RunStatus.FAILED)
            await harness.wait_until_ended(child, RunStatus.CANCELLED)


async def test_a_step_whose_children_end_in_time_is_not_touched_by_the_clock(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_parent(harness, graph(asks("a")), mapped=False, total_timeout_seconds=LONG_SECONDS)
        ended = await harness.wait_until_ended(run)
    assert ended.outputs["each"].value == {"a": "a #1"}
