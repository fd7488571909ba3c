"""Runs whose engine is gone, or is given up by the others: attempts have reasons, results are recorded once."""

from uuid import UUID

import pytest

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.runs.facts import StepFailed, StepResultRefused, StepStarted
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.engine import Engine
from tests.support.engine.backends import ENGINES, terminate
from tests.support.engine.harness import (
    PATIENCE_SECONDS,
    FakeModel,
    Harness,
    asks,
    check_history,
    open_harness,
    reviews,
)
from tests.support.graphs import edge, graph, node
from tests.support.waiting import eventually

CHAIN = graph(
    asks("a"),
    asks("b"),
    node("c"),
    reviews("d"),
    node("e"),
    edges=[edge("a", "b"), edge("a", "c"), edge("b", "d"), edge("c", "d"), edge("d", "e")],
)
HELD = graph(asks("a", "held"), node("b"), edges=[edge("a", "b")])


def list_attempts(facts: list[Fact], step: str) -> list[tuple[int, str]]:
    """Return the attempts of a step, with the engine that claimed each."""
    return [(f.attempt, f.executor) for f in facts if isinstance(f, StepStarted) and f.node == step]


def list_epochs(facts: list[Fact]) -> list[int]:
    return [fact.epoch for fact in facts if isinstance(fact, StepStarted)]


def lost_in(facts: list[Fact]) -> list[tuple[str, int]]:
    """Return the attempts that are recorded as lost with their engine."""
    failures = [fact for fact in facts if isinstance(fact, StepFailed)]
    return [(fact.node, fact.attempt) for fact in failures if fact.error.error_class is ErrorClass.OWNER_LOST]


async def finish(harness: Harness, run: UUID) -> Run:
    """Decide what waits for a person, and wait for the end."""
    state = await harness.wait_until(run, lambda s: s.has_ended or s.status is RunStatus.WAITING, "waits or has ended")
    if not state.has_ended:
        await harness.decide(run, "d")
    return await harness.wait_until_ended(run)


@pytest.mark.parametrize("length", range(1, 14))
async def test_a_run_goes_on_wherever_its_engine_stopped(database: str, length: int) -> None:
    fake_model = FakeModel()
    async with open_harness(database, fake_model) as harness:
        run = await harness.begin(CHAIN)

        async def so_far() -> bool:
            facts = await harness.list_facts(run)
            if len(facts) >= length:
                return True
            step = (await harness.run(run)).steps.get("d")
            if step is not None and step.status is StepStatus.WAITING:
                await harness.decide(run, "d")
            return False

        async with harness.run_engine("first"):
            await eventually(so_far, what=f"{length} facts")
        async with open_harness(database, fake_model) as second_harness, second_harness.run_engine("second"):
            ended = await finish(second_harness, run)
            facts = await second_harness.list_facts(run)
    assert ended.outputs["e"].value == {"outcome": "approve", "data": {}, "comment": None}
    check_history(facts)
    for step in ("a", "b"):
        claims = list_attempts(facts, step)
        assert fake_model.calls[step] <= len(claims), "no call without a recorded attempt"
        assert len(claims) - 1 == sum(lost == step for lost, _ in lost_in(facts))
    assert list_epochs(facts) == sorted(list_epochs(facts))


async def test_an_attempt_under_way_when_its_engine_goes_is_recorded_as_lost(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(HELD)
        async with harness.run_engine("first"):
            await harness.wait_until_called("a")
        assert harness.fake_model.aborted == {"a": 1}
        harness.fake_model.open.set()
        async with harness.run_engine("second"):
            ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert list_attempts(facts, "a") == [(1, "first"), (2, "second")]
    assert lost_in(facts) == [("a", 1)]
    assert ended.outputs["b"].value == "a #2"
    assert len(harness.fake_model.tokens["a"]) == 1, "the provider can tell that it is the same step"
    check_history(facts)


async def test_a_wait_for_a_person_outlives_engines_and_is_not_asked_twice(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(graph(reviews("d"), node("e"), edges=[edge("d", "e")]))
        for name in ("first", "second"):
            async with harness.run_engine(name):
                await harness.wait_for_step(run, "d", StepStatus.WAITING)
        await harness.decide(run, "d")  # while no engine is there
        async with harness.run_engine("third"):
            await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert list_attempts(facts, "d") == [(1, "first")]
    check_history(facts)


async def know_each_other(*engines: Engine) -> None:
    async def all_live() -> bool:
        return all(len(engine.live_epochs) == len(engines) for engine in engines)

    await eventually(all_live, what="the engines know of each other", seconds=PATIENCE_SECONDS)


async def start_shared_runs(harness: Harness, second_harness: Harness, runs: int = 20) -> list[UUID]:
    """Start runs for two engines to share, and wait until a model is asked for each."""
    workflow = await harness.workflow(await harness.project(), HELD)
    begun = [await harness.start(workflow) for _ in range(runs)]

    async def all_asked() -> bool:
        return harness.fake_model.calls["a"] + second_harness.fake_model.calls["a"] == runs

    await eventually(all_asked, what="a model is asked for each run", seconds=PATIENCE_SECONDS)
    return begun


async def test_two_engines_share_the_runs_and_do_nothing_twice(database: str) -> None:
    async with (
        open_harness(database) as harness,
        open_harness(database) as second_harness,
        second_harness.run_engine("early") as early,
        harness.run_engine("late") as late,
    ):
        await know_each_other(early, late)
        runs = await start_shared_runs(harness, second_harness)
        assert min(harness.fake_model.calls["a"], second_harness.fake_model.calls["a"]) > 0, "both have a share"
        harness.fake_model.open.set()
        second_harness.fake_model.open.set()
        for run in runs:
            await harness.wait_until_ended(run)
            facts = await harness.list_facts(run)
            assert lost_in(facts) == []
            check_history(facts)


async def test_what_an_engine_leaves_behind_the_other_goes_on_with(database: str) -> None:
    async with (
        open_harness(database) as harness,
        open_harness(database) as second_harness,
        harness.run_engine("stays") as stays,
    ):
        async with second_harness.run_engine("goes") as goes:
            await know_each_other(stays, goes)
            runs = await start_shared_runs(harness, second_harness)
        harness.fake_model.open.set()
        left = second_harness.fake_model.calls["a"]
        assert left > 0, "the one that goes had a share"
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))
        lost = [event for run in runs for event in lost_in(await harness.list_facts(run))]
    assert len(lost) == left, "each of its runs was begun again, and no other"
    assert harness.fake_model.calls["a"] == 20


async def test_an_engine_that_was_given_up_unawares_records_its_result_as_refused(database: str) -> None:
    async with (
        open_harness(database, FakeModel(signature=" by the first")) as harness,
        open_harness(database, FakeModel(signature=" by the second")) as second_harness,
    ):
        run = await harness.begin(HELD)
        async with harness.run_engine("first", heartbeat_seconds=3_600) as first:  # it will not notice by itself
            await harness.wait_until_called("a")
            assert await terminate(database, ENGINES) == 1
            async with second_harness.run_engine("second"):
                await second_harness.wait_until_called("a")  # the second has claimed the step
                harness.fake_model.open.set()

                async def is_refused() -> bool:
                    return any(isinstance(fact, StepResultRefused) for fact in await harness.list_facts(run))

                await eventually(is_refused, what="the first has tried to record its result", seconds=PATIENCE_SECONDS)
                second_harness.fake_model.open.set()
                ended = await harness.wait_until_ended(run)
                facts = await harness.list_facts(run)
    assert list_attempts(facts, "a") == [(1, "first"), (2, "second")]
    assert ended.outputs["b"].value == "a #1 by the second"
    assert first.stuck_runs == {}, "to lose a run to another engine is no fault"
    refusals = [fact for fact in facts if isinstance(fact, StepResultRefused)]
    assert [(refusal.node, refusal.attempt) for refusal in refusals] == [("a", 1)]
    assert refusals[0].usage in ended.earlier, "what it took still counts"
    check_history(facts)


async def test_an_engine_whose_session_is_ended_joins_again(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine("first"):
        run = await harness.begin(HELD)
        await harness.wait_until_called("a")
        assert await terminate(database, ENGINES) == 1
        await harness.wait_until_called("a", times=2)
        harness.fake_model.open.set()
        await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert list_attempts(facts, "a") == [(1, "first"), (2, "first")]
    assert lost_in(facts) == [("a", 1)]
    assert list_epochs(facts)[0] < list_epochs(facts)[1]
    check_history(facts)


async def test_a_session_is_ended_while_runs_wait_in_the_queue(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine("first", active_runs=1):
        runs = [await harness.begin(HELD) for _ in range(3)]
        await harness.wait_until_called("a")
        assert await terminate(database, ENGINES) == 1
        await harness.wait_until_called("a", times=2)
        harness.fake_model.open.set()
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))
