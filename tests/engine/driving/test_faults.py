"""Interruptions of a run: decisions beside busy branches, and connections that die."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

from commands.runs.start import StartRun
from domain.payload import NOTHING
from domain.runs.facts import StepCompleted, StepStarted
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from engine.cluster.leases import Leases
from engine.cluster.membership import join_engines
from engine.cluster.owner import Owner
from engine.driving.active_runs import ActiveRuns
from store.contents import keep
from store.errors import Unavailable
from store.settings import StoreSettings
from tests.support.commands.processes import new_id
from tests.support.engine.backends import APPENDERS, terminate
from tests.support.engine.harness import PATIENCE_SECONDS, Harness, asks, check_history, open_harness, reviews
from tests.support.graphs import edge, graph, node
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

T = TypeVar("T")
MOST_RUNS = 2000
"""Bound of a test that starts runs until something has happened often enough."""

BESIDE = graph(reviews("d"), asks("slow", "held"), node("e"), edges=[edge("d", "e"), edge("slow", "e")])


async def test_a_decision_beside_a_busy_branch_disturbs_nothing(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(BESIDE)
        await harness.wait_until_called("slow")
        await harness.wait_for_step(run, "d", StepStatus.WAITING)
        await harness.decide(run, "d")
        await harness.wait_for_step(run, "d", StepStatus.COMPLETED)
        harness.fake_model.open.set()
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert harness.fake_model.calls == {"slow": 1}
    assert [fact.attempt for fact in facts if isinstance(fact, StepStarted)] == [1, 1, 1]
    assert ended.outputs["e"].value == {
        "d": {"outcome": "approve", "data": {}, "comment": None},
        "slow": "slow #1",
    }
    check_history(facts)


async def test_a_decision_by_another_process_beside_a_busy_branch_counts_too(database: str) -> None:
    async with open_harness(database) as harness, open_harness(database) as second_harness, harness.run_engine():
        run = await harness.begin(BESIDE)
        await harness.wait_until_called("slow")
        await harness.wait_for_step(run, "d", StepStatus.WAITING)
        await second_harness.decide(run, "d")
        harness.fake_model.open.set()
        await harness.wait_until_ended(run)
        check_history(await harness.list_facts(run))
    assert harness.fake_model.calls == {"slow": 1}


async def test_a_result_that_meets_a_decision_is_recorded_once_and_neither_is_lost(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        workflow = await harness.workflow(await harness.project(), BESIDE)
        runs = await asyncio.gather(*(harness.start(workflow) for _ in range(30)))
        await harness.wait_until_called("slow", times=30)
        for run in runs:
            await harness.wait_for_step(run, "d", StepStatus.WAITING)
        harness.fake_model.open.set()  # all results come while all decisions are made
        await asyncio.gather(*(harness.decide(run, "d") for run in runs))
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))
    assert harness.fake_model.calls == {"slow": 30}


async def test_decisions_at_the_same_moment_are_all_taken(database: str) -> None:
    names = [f"d{number}" for number in range(6)]
    async with open_harness(database) as harness, harness.run_engine():
        raw = graph(*(reviews(name) for name in names), node("e"), edges=[edge(name, "e") for name in names])
        workflow = await harness.workflow(await harness.project(), raw)
        runs = await asyncio.gather(*(harness.start(workflow) for _ in range(10)))
        for run in runs:
            await harness.wait_for_step(run, "d5", StepStatus.WAITING)
        for name in names:
            await asyncio.gather(*(harness.decide(run, name) for run in runs))
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))


async def test_a_result_that_comes_while_values_are_read_is_not_asked_for_again(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        inputs = await keep(harness.contents, WORKSPACE, {"text": "x" * 50_000})
        workflow = await harness.workflow(await harness.project(), BESIDE)
        run = (await harness.does(StartRun(target_id=new_id(), workflow_id=workflow, inputs=inputs))).loaded.stream_id
        await harness.wait_until_called("slow")
        await harness.wait_for_step(run, "d", StepStatus.WAITING)
        harness.contents.open.clear()
        await harness.decide(run, "d")

        async def reading() -> bool:
            return harness.contents.waiting == 1

        async def is_answered() -> bool:
            return harness.fake_model.answered["slow"] == 1

        await eventually(reading, what="the inputs are read again")
        harness.fake_model.open.set()
        await eventually(is_answered, what="the model has answered")
        harness.contents.open.set()
        await harness.wait_until_ended(run)
        check_history(await harness.list_facts(run))
    assert harness.fake_model.calls == {"slow": 1}


async def turns_of_the_loop() -> None:
    """Yield to the event loop until every task waits for something outside of it."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_decision_that_comes_while_the_run_is_loaded_is_taken(database: str) -> None:
    raw = graph(reviews("d"), node("e"), edges=[edge("d", "e")])
    async with open_harness(database, bounds=StoreSettings(readers=1)) as harness:
        async with harness.run_engine():
            run = await harness.begin(raw)
            waiting = await harness.wait_for_step(run, "d", StepStatus.WAITING)
        version = len(waiting.steps) + 2
        async with join_engines(database, "second", lease_seconds=60) as member, asyncio.TaskGroup() as group:
            leases = Leases(harness.log.sessions, member.epoch, delay_seconds=60)
            await leases.acquire([run])  # so that to go on with it asks the reader for nothing more
            context = harness.context(Owner("second", member.epoch))
            runs = ActiveRuns(context, group, slots=1, membership=member, leases=leases)
            async with AsyncExitStack() as second:
                async with harness.log.sessions.connection():  # the only reader
                    runs.wake(run, WORKSPACE)
                    await turns_of_the_loop()  # it asks for the run, and waits for the reader
                    queued = asyncio.ensure_future(second.enter_async_context(harness.log.sessions.connection()))
                    await turns_of_the_loop()
                await queued  # it has read the run, and waits for the reader once more
                await harness.decide(run, "d")
                runs.wake(run, WORKSPACE, version + 1)
            await harness.wait_until_ended(run)


@dataclass
class Killing:
    """Ends connections again and again until told, and counts how many."""

    database: str
    which: str
    killed: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def go_on(self) -> None:
        while not self.done.is_set():
            self.killed += await terminate(self.database, self.which)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.done.wait(), 0.05)


async def start_surely(harness: Harness, workflow: UUID) -> StartRun:
    """Start a run though the log goes away: what has an unknown outcome is looked up."""
    command = StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING)

    async def has_started() -> bool:
        try:
            if not await harness.facts(command.target_id):
                await harness.does(command)
        except Unavailable:
            return False
        return True

    await eventually(has_started, what="the run is started", seconds=20)
    return command


async def test_runs_complete_though_the_connections_of_the_log_are_killed_in_the_middle(database: str) -> None:
    raw = graph(
        asks("a"),
        asks("b"),
        node("c"),
        asks("d"),
        edges=[edge("a", "b"), edge("a", "c"), edge("b", "d"), edge("c", "d")],
    )
    async with open_harness(database) as harness, harness.run_engine():
        workflow = await harness.workflow(await harness.project(), raw)
        killing = Killing(database, APPENDERS)
        runs: list[UUID] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(killing.go_on())
            # As many as it takes: a fast machine starts forty between two kills.
            while (len(runs) < 40 or killing.killed < 5) and len(runs) < MOST_RUNS:
                runs.append((await start_surely(harness, workflow)).target_id)
            killing.done.set()
        for run in runs:
            ended = await harness.wait_until_ended(run)
            assert ended.status is RunStatus.COMPLETED
            facts = await harness.list_facts(run)
            check_history(facts)
            assert sum(isinstance(fact, StepCompleted) for fact in facts) == 4
            assert all(fact.attempt == 1 for fact in facts if isinstance(fact, StepStarted))
    assert killing.killed >= 5
    assert harness.fake_model.calls == dict.fromkeys("abd", len(runs)), (
        "nothing is asked twice for a connection of ours"
    )


async def test_runs_complete_though_every_connection_is_killed(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine() as engine:
        raw = graph(asks("a"), reviews("d"), asks("b"), edges=[edge("a", "d"), edge("d", "b")])
        workflow = await harness.workflow(await harness.project(), raw)
        runs = [(await start_surely(harness, workflow)).target_id for _ in range(10)]
        await terminate(database, "true")
        for run in runs:
            await surely(partial(harness.wait_for_step, run, "d", StepStatus.WAITING))
        await terminate(database, "true")
        for run in runs:
            await surely(partial(harness.decide, run, "d"))
        await terminate(database, "true")
        for run in runs:
            await surely(partial(harness.wait_until_ended, run))
            check_history(await surely(partial(harness.list_facts, run)))
        assert engine.stuck_runs == {}


async def surely(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: the connections that the test itself asks by were killed as well."""
    answers: list[T] = []

    async def is_answered() -> bool:
        with suppress(Unavailable):
            answers.append(await ask())
        return bool(answers)

    await eventually(is_answered, what="there is an answer", seconds=PATIENCE_SECONDS)
    return answers[0]
