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
from tests.support.engine.harness import PATIENCE_SECONDS, FakeModel, Site, asks, check_history, reviews, site
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


def attempts_of(facts: list[Fact], step: str) -> list[tuple[int, str]]:
    """Give the attempts of a step, with who claimed each."""
    return [(f.attempt, f.executor) for f in facts if isinstance(f, StepStarted) and f.node == step]


def epochs_of(facts: list[Fact]) -> list[int]:
    return [fact.epoch for fact in facts if isinstance(fact, StepStarted)]


def lost_in(facts: list[Fact]) -> list[tuple[str, int]]:
    """Give the attempts that are recorded as lost with their owner."""
    failures = [fact for fact in facts if isinstance(fact, StepFailed)]
    return [(fact.node, fact.attempt) for fact in failures if fact.error.error_class is ErrorClass.OWNER_LOST]


async def finish(here: Site, run: UUID) -> Run:
    """Decide what waits for a person, and wait for the end."""
    state = await here.until(run, lambda s: s.has_ended or s.status is RunStatus.WAITING, "waits or has ended")
    if not state.has_ended:
        await here.decide(run, "d")
    return await here.ended(run)


@pytest.mark.parametrize("length", range(1, 14))
async def test_a_run_goes_on_wherever_its_engine_stopped(database: str, length: int) -> None:
    gate = FakeModel()
    async with site(database, gate) as here:
        run = await here.begin(CHAIN)

        async def so_far() -> bool:
            facts = await here.of(run)
            if len(facts) >= length:
                return True
            step = (await here.run(run)).steps.get("d")
            if step is not None and step.status is StepStatus.WAITING:
                await here.decide(run, "d")
            return False

        async with here.engaged("first"):
            await eventually(so_far, what=f"{length} facts")
        async with site(database, gate) as there, there.engaged("second"):
            ended = await finish(there, run)
            facts = await there.of(run)
    assert ended.outputs["e"].value == {"outcome": "approve", "data": {}, "comment": None}
    check_history(facts)
    for step in ("a", "b"):
        claims = attempts_of(facts, step)
        assert gate.calls[step] <= len(claims), "no call without a recorded attempt"
        assert len(claims) - 1 == sum(lost == step for lost, _ in lost_in(facts))
    assert epochs_of(facts) == sorted(epochs_of(facts))


async def test_an_attempt_under_way_when_its_engine_goes_is_recorded_as_lost(database: str) -> None:
    async with site(database) as here:
        run = await here.begin(HELD)
        async with here.engaged("first"):
            await here.asked("a")
        assert here.gate.aborted == {"a": 1}
        here.gate.open.set()
        async with here.engaged("second"):
            ended = await here.ended(run)
        facts = await here.of(run)
    assert attempts_of(facts, "a") == [(1, "first"), (2, "second")]
    assert lost_in(facts) == [("a", 1)]
    assert ended.outputs["b"].value == "a #2"
    assert len(here.gate.tokens["a"]) == 1, "the provider can tell that it is the same step"
    check_history(facts)


async def test_a_wait_for_a_person_outlives_engines_and_is_not_asked_twice(database: str) -> None:
    async with site(database) as here:
        run = await here.begin(graph(reviews("d"), node("e"), edges=[edge("d", "e")]))
        for name in ("first", "second"):
            async with here.engaged(name):
                await here.step(run, "d", StepStatus.WAITING)
        await here.decide(run, "d")  # while no engine is there
        async with here.engaged("third"):
            await here.ended(run)
        facts = await here.of(run)
    assert attempts_of(facts, "d") == [(1, "first")]
    check_history(facts)


async def know_each_other(*engines: Engine) -> None:
    async def all_live() -> bool:
        return all(len(engine.live_epochs) == len(engines) for engine in engines)

    await eventually(all_live, what="the engines know of each other", seconds=PATIENCE_SECONDS)


async def shared(here: Site, there: Site, runs: int = 20) -> list[UUID]:
    """Start runs for two engines to share, and wait until a model is asked for each."""
    workflow = await here.workflow(await here.project(), HELD)
    begun = [await here.start(workflow) for _ in range(runs)]

    async def all_asked() -> bool:
        return here.gate.calls["a"] + there.gate.calls["a"] == runs

    await eventually(all_asked, what="a model is asked for each run", seconds=PATIENCE_SECONDS)
    return begun


async def test_two_engines_share_the_runs_and_do_nothing_twice(database: str) -> None:
    async with (
        site(database) as here,
        site(database) as there,
        there.engaged("early") as early,
        here.engaged("late") as late,
    ):
        await know_each_other(early, late)
        runs = await shared(here, there)
        assert min(here.gate.calls["a"], there.gate.calls["a"]) > 0, "both have a share"
        here.gate.open.set()
        there.gate.open.set()
        for run in runs:
            await here.ended(run)
            facts = await here.of(run)
            assert lost_in(facts) == []
            check_history(facts)


async def test_what_an_engine_leaves_behind_the_other_goes_on_with(database: str) -> None:
    async with site(database) as here, site(database) as there, here.engaged("stays") as stays:
        async with there.engaged("goes") as goes:
            await know_each_other(stays, goes)
            runs = await shared(here, there)
        here.gate.open.set()
        left = there.gate.calls["a"]
        assert left > 0, "the one that goes had a share"
        for run in runs:
            await here.ended(run)
            check_history(await here.of(run))
        lost = [one for run in runs for one in lost_in(await here.of(run))]
    assert len(lost) == left, "each of its runs was begun again, and no other"
    assert here.gate.calls["a"] == 20


async def test_an_engine_that_was_given_up_unawares_records_its_result_as_refused(database: str) -> None:
    async with (
        site(database, FakeModel(signature=" by the first")) as here,
        site(database, FakeModel(signature=" by the second")) as there,
    ):
        run = await here.begin(HELD)
        async with here.engaged("first", heartbeat_seconds=3_600) as first:  # it will not notice by itself
            await here.asked("a")
            assert await terminate(database, ENGINES) == 1
            async with there.engaged("second"):
                await there.asked("a")  # the second has claimed the step
                here.gate.open.set()

                async def refused() -> bool:
                    return any(isinstance(fact, StepResultRefused) for fact in await here.of(run))

                await eventually(refused, what="the first has tried to record its result", seconds=PATIENCE_SECONDS)
                there.gate.open.set()
                ended = await here.ended(run)
                facts = await here.of(run)
    assert attempts_of(facts, "a") == [(1, "first"), (2, "second")]
    assert ended.outputs["b"].value == "a #1 by the second"
    assert first.stuck == {}, "to lose a run to another engine is no fault"
    refusals = [fact for fact in facts if isinstance(fact, StepResultRefused)]
    assert [(one.node, one.attempt) for one in refusals] == [("a", 1)]
    assert refusals[0].usage in ended.earlier, "what it took still counts"
    check_history(facts)


async def test_an_engine_whose_session_is_ended_joins_again(database: str) -> None:
    async with site(database) as here, here.engaged("first"):
        run = await here.begin(HELD)
        await here.asked("a")
        assert await terminate(database, ENGINES) == 1
        await here.asked("a", times=2)
        here.gate.open.set()
        await here.ended(run)
        facts = await here.of(run)
    assert attempts_of(facts, "a") == [(1, "first"), (2, "first")]
    assert lost_in(facts) == [("a", 1)]
    assert epochs_of(facts)[0] < epochs_of(facts)[1]
    check_history(facts)


async def test_a_session_is_ended_while_runs_wait_in_the_queue(database: str) -> None:
    async with site(database) as here, here.engaged("first", active_runs=1):
        runs = [await here.begin(HELD) for _ in range(3)]
        await here.asked("a")
        assert await terminate(database, ENGINES) == 1
        await here.asked("a", times=2)
        here.gate.open.set()
        for run in runs:
            await here.ended(run)
            check_history(await here.of(run))
