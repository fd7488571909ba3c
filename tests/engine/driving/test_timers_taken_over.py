"""Timers that come due in the hand of an engine that dies: another fires them at once, however rarely it polls."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

from domain.runs.run import RunStatus
from engine.failpoints import FailPoint
from engine.settings import EngineSettings
from tests.engine.driving.test_waiting import LONG_SECONDS, find_wait, until_waiting, waits
from tests.kills.test_two_engines import until_joined, until_shared
from tests.support.engine.harness import PATIENCE_SECONDS, open_harness
from tests.support.graphs import edge, graph, node
from tests.support.kills.checks import check, list_completions
from tests.support.kills.environment import Environment, open_environment
from tests.support.kills.graphs import asks
from tests.support.kills.load import Load
from tests.support.waiting import eventually

RARELY = EngineSettings(timer_poll_seconds=LONG_SECONDS)
SOON_SECONDS = 0.3
TIMERS = 10
DIES_OF_THE_THIRD = f"{FailPoint.TIMER_DUE}:2"
SELDOM = {
    "CALLSHEET_ENGINE_TIMER_POLL_SECONDS": str(LONG_SECONDS),
    "CALLSHEET_ENGINE_LEASE_SECONDS": "60",
}
"""Engines poll once in an hour, and do not give each other up on a busy machine: a dead one is known by its lock."""
LARGE = {"expression": "inputs.pad[].join('', [@, @])"}
AFTER_SOMETHING_LARGE = graph(
    node("large", config=LARGE),
    waits(seconds=SOON_SECONDS),
    node("c", config={"expression": "steps.wait.output.until"}),
    edges=[edge("large", "wait"), edge("wait", "c")],
)


async def test_a_timer_that_came_due_in_the_hand_of_an_engine_that_dies_fires_when_it_is_gone(database: str) -> None:
    looked = asyncio.Event()

    def look(point: str) -> None:
        if point == FailPoint.TIMER_DUE:
            looked.set()

    async with open_harness(database) as harness, open_harness(database) as second_harness, AsyncExitStack() as stays:
        run = await harness.begin(AFTER_SOMETHING_LARGE, {"pad": ["x" * 1_000] * 30})
        async with harness.run_engine("dies", timers=RARELY):
            await until_waiting(harness, run, "wait")
            harness.contents.open.clear()

            async def in_hand() -> bool:
                return harness.contents.waiting > 0

            await eventually(in_hand, what="it is due, and in the hand of the first", seconds=PATIENCE_SECONDS)
            await stays.enter_async_context(second_harness.run_engine("stays", timers=RARELY, failpoint=look))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await looked.wait()
            assert not (await harness.run(run)).has_ended, "while the first lives the second leaves it alone"
        ended = await second_harness.wait_until_ended(run)
    assert ended.steps["wait"].attempt == 1


async def dies_of_the_third(harness: Environment, dies: asyncio.subprocess.Process) -> list[UUID]:
    """Begin runs whose timers come due together; gives them once an engine is dead that had not told them all."""
    raw = graph(node("a"), waits(seconds=1), asks("c"), edges=[edge("a", "wait"), edge("wait", "c")])
    workflow = await harness.commands.workflow(await harness.commands.project(), raw)
    begun = [await harness.start(workflow, {"name": f"r{number}"}) for number in range(TIMERS)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await dies.wait()
    return begun


async def fired_once(harness: Environment, begun: list[UUID]) -> None:
    """Wait until all runs have ended, and hold their timers to have fired once each, and no sooner than was said."""
    for run in begun:
        assert (await harness.wait_until_ended(run)).status is RunStatus.COMPLETED
    streams = await harness.streams()
    check(streams, harness.models.calls)
    for run in begun:
        until = find_wait(streams[run], "wait").until
        [completed] = list_completions(streams[run], "wait")
        assert until is not None
        assert completed.completed_at >= until
    assert harness.count_killed() == 1


async def test_timers_of_an_engine_that_is_killed_as_it_fires_them_are_fired_by_the_next(
    database: str, tmp_path: Path
) -> None:
    """The next one begins when the first is dead, so that all have come due in the hand of the first."""
    async with open_environment(database, tmp_path) as harness:
        dies = await harness.engine(DIES_OF_THE_THIRD, **SELDOM)
        await until_joined(harness, 1)
        begun = await dies_of_the_third(harness, dies)
        await harness.engine(**SELDOM)
        await fired_once(harness, begun)


async def test_timers_of_engines_that_are_killed_are_fired_by_those_that_are_left(
    database: str, tmp_path: Path
) -> None:
    """Two engines observe all timers and race for them.

    One that begins late hears of none: the other may have fired them all. So both have claimed a step before.
    """
    async with open_environment(database, tmp_path) as harness:
        dies = await harness.engine(DIES_OF_THE_THIRD, **SELDOM)
        await harness.engine(**SELDOM)
        await until_joined(harness, 2)
        workflow = await harness.commands.workflow(await harness.commands.project(), graph(node("a")))
        load = Load(harness, workflow, [])
        await until_shared(load)
        for run in load.runs:
            await harness.wait_until_ended(run)
        await fired_once(harness, await dies_of_the_third(harness, dies))
