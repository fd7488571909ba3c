"""Waiting for a time on a real log: delays, deadlines, long back-offs and total timeouts, across engines that go."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from commands.aggregates import RUN
from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.runs.facts import StepCompleted, StepDecided, StepFailed, StepStarted, StepWaiting
from domain.runs.run import RunStatus
from engine.cluster.owner import Owner
from engine.driving.driver import Driver
from engine.settings import EngineSettings
from tests.support.commands.processes import now
from tests.support.engine.harness import FakeModel, Harness, asks, check_history, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.waiting import eventually

SHORT_SECONDS = 0.2
LONG_SECONDS = 3_600
DEADLINE = {"after_seconds": SHORT_SECONDS}
DECIDE = {**DEADLINE, "then": {"action": "decide", "outcome": "reject", "data": {"why": "nobody came"}}}


def waits(node_id: str = "wait", **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="delay", config=config)


DELAYED = graph(waits(seconds=SHORT_SECONDS), asks("b"), edges=[edge("wait", "b")])


def find_wait(facts: list[Fact], step: str) -> StepWaiting:
    return next(fact for fact in facts if isinstance(fact, StepWaiting) and fact.node == step)


def list_completions(facts: list[Fact], step: str) -> list[StepCompleted]:
    return [fact for fact in facts if isinstance(fact, StepCompleted) and fact.node == step]


async def pending(harness: Harness) -> int:
    row = await harness.models.first("select count(*) from timers", {})
    return -1 if row is None else int(row[0])


async def until_pending(harness: Harness, timers: int) -> None:
    async def holds() -> bool:
        return await pending(harness) == timers

    await eventually(holds, what=f"{timers} timers are pending", seconds=30)


async def until_waiting(harness: Harness, run: UUID, step: str) -> None:
    """Wait until a step waits, or has done so."""
    await harness.wait_until(
        run, lambda state: step in state.steps and state.steps[step].waiting is not None, "has waited"
    )


async def create_driver(harness: Harness, run: UUID, name: str, ahead: timedelta) -> Driver:
    """Return a driver of a run in its present state, whose clock is ahead."""
    held = await harness.streams.reload(RUN, run)
    assert held is not None
    context = replace(harness.context(Owner(name, 1_000)), clock=lambda: now() + ahead)
    graph = await context.graphs.load(held.state.workflow_id, held.state.workflow_version)
    return Driver(context, held, graph, (await harness.facts(run))[0].metadata)


async def test_a_delay_ends_at_its_time_and_no_sooner_and_gives_it(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(DELAYED)
        await harness.wait_until_ended(run)
        recorded = await harness.facts(run)
    facts = [event.fact for event in recorded]
    until = find_wait(facts, "wait").until
    assert until is not None
    [completed] = list_completions(facts, "wait")
    assert completed.completed_at >= until
    assert completed.output.value == {"until": until.isoformat().replace("+00:00", "Z")}
    check_history(facts)


async def test_a_time_in_the_past_completes_at_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(waits(until="{{ inputs.at }}")), {"at": "2020-02-29T13:00:00+01:00"})
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert ended.outputs["wait"].value == {"until": "2020-02-29T12:00:00Z"}
    assert not any(isinstance(fact, StepWaiting) for fact in facts)


async def test_a_time_that_cannot_be_read_fails_the_step_as_an_expression(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(waits(until="{{ inputs.at }}")), {"at": "tomorrow"})
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.EXPRESSION
    assert "'tomorrow'" in ended.error.message


async def test_a_delay_survives_the_engine_that_began_it(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(DELAYED)
        async with harness.run_engine("first"):
            await until_waiting(harness, run, "wait")
    async with open_harness(database) as second_harness, second_harness.run_engine("second"):
        await second_harness.wait_until_ended(run)
        facts = await second_harness.list_facts(run)
    until = find_wait(facts, "wait").until
    [completed] = list_completions(facts, "wait")
    assert until is not None
    assert completed.completed_at >= until
    assert [fact.attempt for fact in facts if isinstance(fact, StepStarted) and fact.node == "wait"] == [1]


async def test_many_delays_end_once_each_and_leave_no_timer_behind(database: str) -> None:
    graph_of_many = graph(*(waits(f"w{number}", seconds=SHORT_SECONDS + number / 100) for number in range(20)))
    async with open_harness(database) as harness, harness.run_engine("first"), harness.run_engine("second"):
        workflow = await harness.workflow(await harness.project(), graph_of_many)
        runs = [await harness.start(workflow) for _ in range(5)]
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))
        await until_pending(harness, 0)


async def test_two_drivers_at_the_same_timer_settle_it_once(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(graph(waits(seconds=LONG_SECONDS)))
        async with harness.run_engine():
            await until_waiting(harness, run, "wait")
        early = await create_driver(harness, run, "early", timedelta(0))
        await early.drive()
        assert list_completions(await harness.list_facts(run), "wait") == []
        drivers = [
            await create_driver(harness, run, name, timedelta(seconds=LONG_SECONDS)) for name in ("first", "second")
        ]
        await asyncio.gather(*(driver.drive() for driver in drivers))
        await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert len(list_completions(facts, "wait")) == 1
    check_history(facts)


async def test_a_deadline_fails_the_step_and_its_policy_applies(database: str) -> None:
    raw = graph(
        {**reviews("d", deadline=DEADLINE), "on_error": {"action": "continue", "output": {"outcome": "late"}}},
        node("e"),
        edges=[edge("d", "e")],
    )
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    until = find_wait(facts, "d").until
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert until is not None
    assert failed.failed_at >= until
    assert failed.error.error_class is ErrorClass.DEADLINE
    assert ended.outputs["e"].value == {"outcome": "late"}


async def test_a_deadline_fails_the_run_where_nothing_else_is_said(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(reviews("d", deadline=DEADLINE)))
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        await until_pending(harness, 0)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.DEADLINE


async def test_the_system_decides_at_a_deadline(database: str) -> None:
    raw = graph(
        reviews("d", deadline=DECIDE), node("e"), edges=[edge("d", "e", when="steps.d.output.outcome == 'reject'")]
    )
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    waiting = find_wait(facts, "d")
    [decided] = [fact for fact in facts if isinstance(fact, StepDecided)]
    assert waiting.until is not None
    assert decided.decided_at >= waiting.until
    assert (decided.decided_by, decided.outcome, decided.shown_hash) == ("system", "reject", waiting.shown_hash)
    assert decided.data.value == {"why": "nobody came"}
    assert ended.outputs["e"].value == {"outcome": "reject", "data": {"why": "nobody came"}, "comment": None}


@pytest.mark.parametrize("then", [{"action": "fail"}, DECIDE["then"]])
async def test_a_decision_before_the_deadline_wins(database: str, then: Json) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(graph(reviews("d", deadline={"after_seconds": LONG_SECONDS, "then": then})))
        async with harness.run_engine("first"):
            await until_waiting(harness, run, "d")
        # This driver holds the run as it was before the decision, and by its clock the deadline is over.
        late = await create_driver(harness, run, "late", timedelta(seconds=LONG_SECONDS))
        await harness.decide(run, "d", "approve")
        await late.drive()
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert [fact.decided_by for fact in facts if isinstance(fact, StepDecided)] == ["rita"]
    assert ended.outputs["d"].value == {"outcome": "approve", "data": {}, "comment": None}


async def test_a_long_back_off_is_left_to_a_timer(database: str) -> None:
    retry = {
        "max_attempts": 3,
        "retry_on": ["overloaded"],
        "backoff": {"initial_seconds": SHORT_SECONDS, "factor": 1, "jitter": 0},
    }
    async with open_harness(database) as harness:
        run = await harness.begin(graph(asks("a", "moody", retry=retry)))
        async with harness.run_engine(timers=EngineSettings(held_back_off_seconds=0)):
            await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    starts = [fact for fact in facts if isinstance(fact, StepStarted)]
    retries = [fact.retry_at for fact in facts if isinstance(fact, StepFailed) and fact.retry_at is not None]
    assert [start.attempt for start in starts] == [1, 2, 3]
    assert all(start.started_at >= at for start, at in zip(starts[1:], retries, strict=True))
    check_history(facts)


async def test_an_attempt_lasts_no_longer_than_what_remains_in_total(database: str) -> None:
    retry = {"max_attempts": 5, "retry_on": ["timeout"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with open_harness(database, FakeModel()) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "held", retry=retry, total_timeout_seconds=SHORT_SECONDS)))
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.TIMEOUT
    assert "total_timeout_seconds" in ended.error.message
    assert len([fact for fact in facts if isinstance(fact, StepStarted)]) == 1, "nothing remains for another"


async def test_no_attempt_is_made_that_would_begin_after_the_total_timeout(database: str) -> None:
    retry = {"retry_on": ["overloaded"], "backoff": {"initial_seconds": LONG_SECONDS, "max_seconds": LONG_SECONDS}}
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "moody", retry=retry, total_timeout_seconds=60)))
        await harness.wait_until_ended(run, RunStatus.FAILED)
        [failed] = [fact for fact in await harness.list_facts(run) if isinstance(fact, StepFailed)]
    assert failed.retry_at is None
    assert failed.error.error_class is ErrorClass.OVERLOADED


async def test_a_timer_is_taken_from_its_table_when_nobody_heard_of_it(database: str) -> None:
    poll = EngineSettings(timer_poll_seconds=0.05, timers_in_memory=0)
    async with open_harness(database) as harness, harness.run_engine(timers=poll):
        run = await harness.begin(DELAYED)
        await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    until = find_wait(facts, "wait").until
    assert until is not None
    assert list_completions(facts, "wait")[0].completed_at - until >= timedelta(0)
