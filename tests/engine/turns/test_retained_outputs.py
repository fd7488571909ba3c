"""Outputs that were paid for before a condition failed: kept by a retry, which decides the edges and asks nobody."""

from typing import Any, Final
from uuid import UUID

import pytest

from commands.asset import ChangeAsset, CreateAsset
from commands.runs.lifecycle import CancelRun
from commands.workflow import ChangeWorkflow
from domain.asset import AssetType
from domain.fact import Fact
from domain.ids import from_uuid
from domain.payload import INLINE_BYTES, Payload
from domain.runs.facts import RunCompleted, RunRetried, StepCompleted, StepFailed, StepStarted
from domain.runs.run import Run, RunStatus, compute_usage_totals
from domain.runs.steps import StepStatus
from tests.engine.driving.test_verbs import fork, retry, revise
from tests.support.commands.processes import new_id
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import FakeModel, Harness, asks, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node

BROKEN: Final = "steps.a.output.nope == 1"
MENDED: Final = "steps.a.output != ''"


def build_paid_graph(when: str = BROKEN, model: str = "counting", **fields: Any) -> Json:  # noqa: ANN401  # JSON
    """Return a graph whose first step is paid for, with a condition behind it."""
    return graph(asks("a", model, **fields), node("b"), edges=[edge("a", "b", when=when)])


async def start_failing(harness: Harness, raw: Json) -> UUID:
    harness.fake_model.open.set()
    run = await harness.begin(raw)
    ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    assert (ended.failed_node, ended.steps["a"].status) == ("a", StepStatus.FAILED)
    return run


async def again(harness: Harness, run: UUID, attempt: int, *, newest_graph: bool = False) -> Run:
    await retry(harness, run, newest_graph=newest_graph)
    return await harness.wait_until(run, lambda state: state.has_ended and state.attempt == attempt, "has ended again")


def list_kept(facts: list[Fact]) -> list[tuple[str, ...]]:
    return [fact.outputs_kept for fact in facts if isinstance(fact, RunRetried)]


async def test_a_paid_answer_survives_a_condition_that_fails(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph())
        first = await harness.run(run)
        second = await again(harness, run, 2)
        await revise(harness, run, build_paid_graph(MENDED))
        third = await again(harness, run, 3, newest_graph=True)
        facts = await harness.list_facts(run)
    assert harness.fake_model.calls["a"] == 1
    assert first.steps["a"].gave == second.steps["a"].gave == Payload(value="a #1")
    assert second.error == first.error
    assert (third.status, third.workflow_version) == (RunStatus.COMPLETED, 2)
    assert third.steps["a"].output.value == third.outputs["b"].value == "a #1"
    assert list_kept(facts) == [("a",), ("a",)]
    assert [fact.node for fact in facts if isinstance(fact, StepStarted)] == ["a", "b"]
    assert [type(fact) for fact in facts[-4:]] == [StepCompleted, StepStarted, StepCompleted, RunCompleted]
    took = [compute_usage_totals(state) for state in (first, second, third)]
    assert took[0] == took[1] == took[2]
    assert took[0].model_calls == 1
    assert took[0].cost_usd is not None
    assert third.steps["a"].usage == first.steps["a"].usage


async def test_what_a_person_decided_is_not_asked_again(database: str) -> None:
    raw = graph(reviews("a"), node("b"), edges=[edge("a", "b", when=BROKEN)])
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        await harness.wait_for_step(run, "a", StepStatus.WAITING)
        await harness.decide(run, "a")
        await harness.wait_until_ended(run, RunStatus.FAILED)
        mended = graph(reviews("a"), node("b"), edges=[edge("a", "b", when="steps.a.output.outcome == 'approve'")])
        await revise(harness, run, mended)
        ended = await again(harness, run, 2, newest_graph=True)
    assert ended.status is RunStatus.COMPLETED
    assert ended.steps["a"].decision is not None
    assert ended.outputs["b"].value == {"outcome": "approve", "data": {}, "comment": None}


async def test_a_map_whose_list_is_kept_begins_no_item_again(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(asks("c")))

        def raw(when: str) -> Json:
            return graph(maps(inner, concurrency=1), node("b"), edges=[edge("each", "b", when=when)])

        run = await harness.start(await harness.workflow(project, raw("steps.each.output.nope == 1")), {"list": [1, 2]})
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await revise(harness, run, raw("size(steps.each.output) == 2"))
        ended = await again(harness, run, 2, newest_graph=True)
        facts = await harness.list_facts(run)
    assert ended.outputs["b"].value == [{"c": "c #1"}, {"c": "c #2"}]
    assert harness.fake_model.calls["c"] == 2
    [retried] = [fact for fact in facts if isinstance(fact, RunRetried)]
    assert (retried.outputs_kept, retried.items_kept) == (("each",), ())
    assert compute_usage_totals(ended).model_calls == 2


async def test_an_answer_too_large_for_a_fact_is_kept_by_reference(database: str) -> None:
    async with open_harness(database, FakeModel(signature="x" * INLINE_BYTES)) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph())
        gave = (await harness.run(run)).steps["a"].gave
        await revise(harness, run, build_paid_graph(MENDED))
        ended = await again(harness, run, 2, newest_graph=True)
    assert gave is not None
    assert gave.ref is not None
    assert ended.steps["a"].output == gave
    assert harness.fake_model.calls["a"] == 1


async def test_a_step_that_the_newest_graph_has_do_something_else_begins_anew(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph())
        await revise(harness, run, build_paid_graph(MENDED, "free"))
        ended = await again(harness, run, 2, newest_graph=True)
        facts = await harness.list_facts(run)
    assert list_kept(facts) == [()]
    assert (ended.steps["a"].output.value, harness.fake_model.calls["a"]) == ("a #2", 2)
    assert compute_usage_totals(ended).model_calls == 2


async def test_a_step_that_is_led_to_by_another_way_begins_anew(database: str) -> None:
    """The new step is free: its output may differ from the old one."""
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph())
        more = build_paid_graph(MENDED)
        await revise(harness, run, {"nodes": [node("z"), *more["nodes"]], "edges": [edge("z", "a"), *more["edges"]]})
        await again(harness, run, 2, newest_graph=True)
        facts = await harness.list_facts(run)
    assert list_kept(facts) == [()]
    assert harness.fake_model.calls["a"] == 2


async def test_a_step_whose_prompt_has_a_newer_version_begins_anew(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project, asset = await harness.project(), new_id()
        await harness.does(
            CreateAsset(
                target_id=asset,
                project_id=project,
                type=AssetType.PROMPT,
                label="p",
                metadata={},
                content=Payload(value="old"),
            )
        )
        ask = node("a", kind="prompt", config={"model": "fake/free", "asset_id": from_uuid("ast", asset)})

        def raw(when: str) -> Json:
            return graph(ask, node("b"), edges=[edge("a", "b", when=when)])

        workflow = await harness.workflow(project, raw(BROKEN))
        run = await harness.start(workflow)
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await again(harness, run, 2, newest_graph=True)
        assert harness.fake_model.calls["old"] == 1
        await harness.does(ChangeAsset(target_id=asset, content=Payload(value="new")))
        await again(harness, run, 3)
        assert (harness.fake_model.calls["old"], harness.fake_model.calls["new"]) == (1, 0)
        await harness.does(ChangeWorkflow(target_id=workflow, graph=raw(MENDED)))
        ended = await again(harness, run, 4, newest_graph=True)
        facts = await harness.list_facts(run)
    assert ended.outputs["b"].value == "new #1"
    assert list_kept(facts) == [("a",), ("a",), ()]


@pytest.mark.parametrize("policy", [{"action": "continue", "output": {"nope": 1}}, {"action": "fallback", "to": "c"}])
async def test_a_step_that_leads_on_all_the_same_keeps_nothing(database: str, policy: Json) -> None:
    raw = graph(asks("a", on_error=policy), node("b"), asks("c"), edges=[edge("a", "b", when=BROKEN), edge("a", "c")])
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert ended.steps["a"].gave is None
    assert [fact.gave for fact in facts if isinstance(fact, StepFailed)] == [None]


async def test_a_default_whose_condition_fails_too_does_not_cost_the_answer(database: str) -> None:
    policy = {"action": "continue", "output": "nothing"}
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph(on_error=policy))
        await revise(harness, run, build_paid_graph(MENDED, on_error=policy))
        ended = await again(harness, run, 2, newest_graph=True)
    assert (ended.outputs["b"].value, harness.fake_model.calls["a"]) == ("a #1", 1)


async def test_a_run_cancelled_before_its_kept_output_is_settled_keeps_it(database: str) -> None:
    fake_model = FakeModel()
    async with open_harness(database, fake_model) as harness:
        async with harness.run_engine("first"):
            run = await start_failing(harness, build_paid_graph())
        await retry(harness, run)
        waits = await harness.run(run)
        await harness.does(CancelRun(target_id=run, user_id="ada"))
        async with open_harness(database, fake_model) as second_harness, second_harness.run_engine("second"):
            cancelled = await second_harness.wait_until_ended(run, RunStatus.CANCELLED)
            await revise(second_harness, run, build_paid_graph(MENDED))
            ended = await again(second_harness, run, 3, newest_graph=True)
    assert (waits.status, waits.steps["a"].status, waits.busy) == (RunStatus.QUEUED, StepStatus.GIVEN, 1)
    assert cancelled.steps["a"].gave == Payload(value="a #1")
    assert (ended.status, ended.outputs["b"].value, fake_model.calls["a"]) == (RunStatus.COMPLETED, "a #1", 1)
    assert compute_usage_totals(ended).model_calls == 1


async def test_an_engine_that_comes_later_settles_what_was_kept_once(database: str) -> None:
    fake_model = FakeModel()
    async with open_harness(database, fake_model) as harness:
        async with harness.run_engine("first"):
            run = await start_failing(harness, build_paid_graph())
        await revise(harness, run, build_paid_graph(MENDED))
        await retry(harness, run, newest_graph=True)
        async with (
            open_harness(database, fake_model) as second_harness,
            harness.run_engine("second"),
            second_harness.run_engine("third"),
        ):
            await harness.wait_until(run, lambda state: state.has_ended and state.attempt == 2, "has ended again")
            facts = await harness.list_facts(run)
    assert [fact.node for fact in facts if isinstance(fact, StepCompleted)] == ["a", "b"]
    assert fake_model.calls["a"] == 1


async def test_a_fork_of_a_run_that_failed_so_asks_again_and_one_of_its_mended_retry_does_not(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness, build_paid_graph())
        forked = await harness.wait_until_ended(await fork(harness, run, "b"), RunStatus.FAILED)
        assert (forked.steps["a"].gave, harness.fake_model.calls["a"]) == (Payload(value="a #2"), 2)
        await revise(harness, run, build_paid_graph(MENDED))
        await again(harness, run, 2, newest_graph=True)
        forked = await harness.wait_until_ended(await fork(harness, run, "b"))
    assert (forked.outputs["b"].value, harness.fake_model.calls["a"]) == ("a #1", 2)
