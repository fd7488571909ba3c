"""Calls that are aborted: what a model had counted by then is paid for, and stands in the run."""

from commands.runs.lifecycle import CancelRun, RetryRun
from domain.fact import Fact
from domain.runs.facts import RunCancelled, RunFailed, StepCompleted, StepFailed, StepResultRefused
from domain.runs.run import RunStatus
from tests.support.engine.harness import asks, open_harness
from tests.support.graphs import Json, edge, graph, node

COUNTED = "0.0011"


def list_refused(facts: list[Fact]) -> list[StepResultRefused]:
    return [fact for fact in facts if isinstance(fact, StepResultRefused)]


async def test_what_a_cancelled_call_had_counted_stands_before_the_end_of_its_run(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "counting"), asks("b", "held")))
        await harness.wait_until_called("a")
        await harness.wait_until_called("b")
        await harness.does(CancelRun(target_id=run, user_id="ada"))
        ended = await harness.wait_until_ended(run, RunStatus.CANCELLED)
        facts = await harness.list_facts(run)
    [late] = list_refused(facts)
    assert (late.node, late.attempt) == ("a", 1)
    assert [usage.cost_usd for usage in ended.earlier] == [COUNTED]
    assert isinstance(facts[-1], RunCancelled)


async def test_a_run_that_fails_beside_a_call_keeps_what_that_had_counted(database: str) -> None:
    raw = graph(
        asks("a", "counting"), asks("go", "free"), node("bad", config={"expression": "abs('x')"}),
        edges=[edge("go", "bad")],
    )  # fmt: skip
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
    assert harness.fake_model.aborted["a"] == harness.fake_model.calls["a"]
    assert [fact.node for fact in list_refused(facts)] == ["a"] * harness.fake_model.calls["a"]
    assert len(ended.earlier) == harness.fake_model.calls["a"]
    assert isinstance(facts[-1], RunFailed)


async def test_a_call_that_runs_out_of_time_keeps_what_it_had_counted(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "counting", timeout_seconds=0.2)))
        await harness.wait_until_ended(run, RunStatus.FAILED)
        [failed] = [fact for fact in await harness.list_facts(run) if isinstance(fact, StepFailed)]
    assert failed.usage is not None
    assert failed.usage.cost_usd == COUNTED


async def test_what_was_given_beside_a_failure_is_recorded_and_not_paid_for_again(database: str) -> None:
    json_alone: Json = {"format": "json", "schema": {}, "repair_attempts": 0}
    bad = node("bad", kind="prompt", config={"model": "fake/held", "template": "bad", "output": json_alone})
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(bad, asks("good", "held")))
        await harness.wait_until_called("good")
        await harness.wait_until_called("bad")
        harness.fake_model.open.set()  # both answer in one moment, so that one turn records them
        await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
        assert [fact.node for fact in facts if isinstance(fact, StepCompleted)] == ["good"]
        await harness.does(RetryRun(target_id=run, user_id="ada"))
        await harness.wait_until(run, lambda state: state.has_ended and state.attempt == 2, "has ended again")
    assert (harness.fake_model.calls["good"], harness.fake_model.calls["bad"]) == (1, 2)
