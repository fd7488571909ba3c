"""Calls that are aborted: what a model had counted by then is paid for, and stands in the run."""

from commands.runs.lifecycle import CancelRun, RetryRun
from domain.fact import Fact
from domain.runs.facts import RunCancelled, RunFailed, StepCompleted, StepFailed, StepResultRefused
from domain.runs.run import RunStatus
from tests.support.engine.harness import asks, site
from tests.support.graphs import Json, edge, graph, node

COUNTED = "0.0011"


def refused(facts: list[Fact]) -> list[StepResultRefused]:
    return [fact for fact in facts if isinstance(fact, StepResultRefused)]


async def test_what_a_cancelled_call_had_counted_stands_before_the_end_of_its_run(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(asks("a", "counting"), asks("b", "held")))
        await here.asked("a")
        await here.asked("b")
        await here.does(CancelRun(target_id=run, user_id="ada"))
        ended = await here.ended(run, RunStatus.CANCELLED)
        facts = await here.of(run)
    [late] = refused(facts)
    assert (late.node, late.attempt) == ("a", 1)
    assert [usage.cost_usd for usage in ended.earlier] == [COUNTED]
    assert isinstance(facts[-1], RunCancelled)


async def test_a_run_that_fails_beside_a_call_keeps_what_that_had_counted(database: str) -> None:
    raw = graph(
        asks("a", "counting"), asks("go", "free"), node("bad", config={"expression": "abs('x')"}),
        edges=[edge("go", "bad")],
    )  # fmt: skip
    async with site(database) as here, here.engaged():
        run = await here.begin(raw)
        ended = await here.ended(run, RunStatus.FAILED)
        facts = await here.of(run)
    assert here.gate.aborted["a"] == here.gate.calls["a"]
    assert [fact.node for fact in refused(facts)] == ["a"] * here.gate.calls["a"]
    assert len(ended.earlier) == here.gate.calls["a"]
    assert isinstance(facts[-1], RunFailed)


async def test_a_call_that_runs_out_of_time_keeps_what_it_had_counted(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(asks("a", "counting", timeout_seconds=0.2)))
        await here.ended(run, RunStatus.FAILED)
        [failed] = [fact for fact in await here.of(run) if isinstance(fact, StepFailed)]
    assert failed.usage is not None
    assert failed.usage.cost_usd == COUNTED


async def test_what_was_given_beside_a_failure_is_recorded_and_not_paid_for_again(database: str) -> None:
    json_alone: Json = {"format": "json", "schema": {}, "repair_attempts": 0}
    bad = node("bad", kind="prompt", config={"model": "gate/held", "template": "bad", "output": json_alone})
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(bad, asks("good", "held")))
        await here.asked("good")
        await here.asked("bad")
        here.gate.open.set()  # both answer in one moment, so that one turn records them
        await here.ended(run, RunStatus.FAILED)
        facts = await here.of(run)
        assert [fact.node for fact in facts if isinstance(fact, StepCompleted)] == ["good"]
        await here.does(RetryRun(target_id=run, user_id="ada"))
        await here.until(run, lambda state: state.has_ended and state.attempt == 2, "has ended again")
    assert (here.gate.calls["good"], here.gate.calls["bad"]) == (1, 2)
