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
from tests.support.engine.harness import FakeModel, Site, asks, check_history, reviews, site
from tests.support.graphs import Json, edge, graph, node
from tests.support.waiting import eventually

SHORT_SECONDS = 0.2
LONG_SECONDS = 3_600
DEADLINE = {"after_seconds": SHORT_SECONDS}
DECIDE = {**DEADLINE, "then": {"action": "decide", "outcome": "reject", "data": {"why": "nobody came"}}}


def waits(node_id: str = "wait", **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="delay", config=config)


DELAYED = graph(waits(seconds=SHORT_SECONDS), asks("b"), edges=[edge("wait", "b")])


def waiting_of(facts: list[Fact], step: str) -> StepWaiting:
    return next(fact for fact in facts if isinstance(fact, StepWaiting) and fact.node == step)


def completions_of(facts: list[Fact], step: str) -> list[StepCompleted]:
    return [fact for fact in facts if isinstance(fact, StepCompleted) and fact.node == step]


async def pending(here: Site) -> int:
    row = await here.models.first("select count(*) from timers", {})
    return -1 if row is None else int(row[0])


async def until_pending(here: Site, timers: int) -> None:
    async def holds() -> bool:
        return await pending(here) == timers

    await eventually(holds, what=f"{timers} timers are pending", seconds=30)


async def until_waiting(here: Site, run: UUID, step: str) -> None:
    """Wait until a step waits, or has done so."""
    await here.until(run, lambda state: step in state.steps and state.steps[step].waiting is not None, "has waited")


async def driver_of(here: Site, run: UUID, name: str, ahead: timedelta) -> Driver:
    """Give a driver of a run as it stands now, whose clock is ahead."""
    held = await here.streams.reload(RUN, run)
    assert held is not None
    context = replace(here.context(Owner(name, 1_000)), clock=lambda: now() + ahead)
    graph = await context.graphs.load(held.state.workflow_id, held.state.workflow_version)
    return Driver(context, held, graph, (await here.facts(run))[0].metadata)


async def test_a_delay_ends_at_its_time_and_no_sooner_and_gives_it(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(DELAYED)
        await here.ended(run)
        recorded = await here.facts(run)
    facts = [one.fact for one in recorded]
    until = waiting_of(facts, "wait").until
    assert until is not None
    [completed] = completions_of(facts, "wait")
    assert completed.completed_at >= until
    assert completed.output.value == {"until": until.isoformat().replace("+00:00", "Z")}
    check_history(facts)


async def test_a_time_in_the_past_completes_at_once(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(waits(until="{{ inputs.at }}")), {"at": "2020-02-29T13:00:00+01:00"})
        ended = await here.ended(run)
        facts = await here.of(run)
    assert ended.outputs["wait"].value == {"until": "2020-02-29T12:00:00Z"}
    assert not any(isinstance(fact, StepWaiting) for fact in facts)


async def test_a_time_that_cannot_be_read_fails_the_step_as_an_expression(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(waits(until="{{ inputs.at }}")), {"at": "tomorrow"})
        ended = await here.ended(run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.EXPRESSION
    assert "'tomorrow'" in ended.error.message


async def test_a_delay_survives_the_engine_that_began_it(database: str) -> None:
    async with site(database) as here:
        run = await here.begin(DELAYED)
        async with here.engaged("first"):
            await until_waiting(here, run, "wait")
    async with site(database) as there, there.engaged("second"):
        await there.ended(run)
        facts = await there.of(run)
    until = waiting_of(facts, "wait").until
    [completed] = completions_of(facts, "wait")
    assert until is not None
    assert completed.completed_at >= until
    assert [fact.attempt for fact in facts if isinstance(fact, StepStarted) and fact.node == "wait"] == [1]


async def test_many_delays_end_once_each_and_leave_no_timer_behind(database: str) -> None:
    graph_of_many = graph(*(waits(f"w{number}", seconds=SHORT_SECONDS + number / 100) for number in range(20)))
    async with site(database) as here, here.engaged("first"), here.engaged("second"):
        workflow = await here.workflow(await here.project(), graph_of_many)
        runs = [await here.start(workflow) for _ in range(5)]
        for run in runs:
            await here.ended(run)
            check_history(await here.of(run))
        await until_pending(here, 0)


async def test_two_drivers_at_the_same_timer_settle_it_once(database: str) -> None:
    async with site(database) as here:
        run = await here.begin(graph(waits(seconds=LONG_SECONDS)))
        async with here.engaged():
            await until_waiting(here, run, "wait")
        early = await driver_of(here, run, "early", timedelta(0))
        await early.drive()
        assert completions_of(await here.of(run), "wait") == []
        drivers = [await driver_of(here, run, name, timedelta(seconds=LONG_SECONDS)) for name in ("first", "second")]
        await asyncio.gather(*(driver.drive() for driver in drivers))
        await here.ended(run)
        facts = await here.of(run)
    assert len(completions_of(facts, "wait")) == 1
    check_history(facts)


async def test_a_deadline_fails_the_step_and_its_policy_applies(database: str) -> None:
    raw = graph(
        {**reviews("d", deadline=DEADLINE), "on_error": {"action": "continue", "output": {"outcome": "late"}}},
        node("e"),
        edges=[edge("d", "e")],
    )
    async with site(database) as here, here.engaged():
        run = await here.begin(raw)
        ended = await here.ended(run)
        facts = await here.of(run)
    until = waiting_of(facts, "d").until
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert until is not None
    assert failed.failed_at >= until
    assert failed.error.error_class is ErrorClass.DEADLINE
    assert ended.outputs["e"].value == {"outcome": "late"}


async def test_a_deadline_fails_the_run_where_nothing_else_is_said(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(reviews("d", deadline=DEADLINE)))
        ended = await here.ended(run, RunStatus.FAILED)
        await until_pending(here, 0)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.DEADLINE


async def test_the_system_decides_at_a_deadline(database: str) -> None:
    raw = graph(
        reviews("d", deadline=DECIDE), node("e"), edges=[edge("d", "e", when="steps.d.output.outcome == 'reject'")]
    )
    async with site(database) as here, here.engaged():
        run = await here.begin(raw)
        ended = await here.ended(run)
        facts = await here.of(run)
    waiting = waiting_of(facts, "d")
    [decided] = [fact for fact in facts if isinstance(fact, StepDecided)]
    assert waiting.until is not None
    assert decided.decided_at >= waiting.until
    assert (decided.decided_by, decided.outcome, decided.shown_hash) == ("system", "reject", waiting.shown_hash)
    assert decided.data.value == {"why": "nobody came"}
    assert ended.outputs["e"].value == {"outcome": "reject", "data": {"why": "nobody came"}, "comment": None}


@pytest.mark.parametrize("then", [{"action": "fail"}, DECIDE["then"]])
async def test_a_decision_before_the_deadline_wins(database: str, then: Json) -> None:
    async with site(database) as here:
        run = await here.begin(graph(reviews("d", deadline={"after_seconds": LONG_SECONDS, "then": then})))
        async with here.engaged("first"):
            await until_waiting(here, run, "d")
        # This driver holds the run as it was before the decision, and by its clock the deadline is over.
        late = await driver_of(here, run, "late", timedelta(seconds=LONG_SECONDS))
        await here.decide(run, "d", "approve")
        await late.drive()
        ended = await here.ended(run)
        facts = await here.of(run)
    assert [fact.decided_by for fact in facts if isinstance(fact, StepDecided)] == ["rita"]
    assert ended.outputs["d"].value == {"outcome": "approve", "data": {}, "comment": None}


async def test_a_long_back_off_is_left_to_a_timer(database: str) -> None:
    retry = {
        "max_attempts": 3,
        "retry_on": ["overloaded"],
        "backoff": {"initial_seconds": SHORT_SECONDS, "factor": 1, "jitter": 0},
    }
    async with site(database) as here:
        run = await here.begin(graph(asks("a", "moody", retry=retry)))
        async with here.engaged(timers=EngineSettings(held_back_off_seconds=0)):
            await here.ended(run)
        facts = await here.of(run)
    starts = [fact for fact in facts if isinstance(fact, StepStarted)]
    retries = [fact.retry_at for fact in facts if isinstance(fact, StepFailed) and fact.retry_at is not None]
    assert [start.attempt for start in starts] == [1, 2, 3]
    assert all(start.started_at >= at for start, at in zip(starts[1:], retries, strict=True))
    check_history(facts)


async def test_an_attempt_lasts_no_longer_than_what_remains_in_total(database: str) -> None:
    retry = {"max_attempts": 5, "retry_on": ["timeout"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with site(database, FakeModel()) as here, here.engaged():
        run = await here.begin(graph(asks("a", "held", retry=retry, total_timeout_seconds=SHORT_SECONDS)))
        ended = await here.ended(run, RunStatus.FAILED)
        facts = await here.of(run)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.TIMEOUT
    assert "total_timeout_seconds" in ended.error.message
    assert len([fact for fact in facts if isinstance(fact, StepStarted)]) == 1, "nothing remains for another"


async def test_no_attempt_is_made_that_would_begin_after_the_total_timeout(database: str) -> None:
    retry = {"retry_on": ["overloaded"], "backoff": {"initial_seconds": LONG_SECONDS, "max_seconds": LONG_SECONDS}}
    async with site(database) as here, here.engaged():
        run = await here.begin(graph(asks("a", "moody", retry=retry, total_timeout_seconds=60)))
        await here.ended(run, RunStatus.FAILED)
        [failed] = [fact for fact in await here.of(run) if isinstance(fact, StepFailed)]
    assert failed.retry_at is None
    assert failed.error.error_class is ErrorClass.OVERLOADED


async def test_a_timer_is_taken_from_its_table_when_nobody_heard_of_it(database: str) -> None:
    poll = EngineSettings(timer_poll_seconds=0.05, timers_in_memory=0)
    async with site(database) as here, here.engaged(timers=poll):
        run = await here.begin(DELAYED)
        await here.ended(run)
        facts = await here.of(run)
    until = waiting_of(facts, "wait").until
    assert until is not None
    assert completions_of(facts, "wait")[0].completed_at - until >= timedelta(0)
