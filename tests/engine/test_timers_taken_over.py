"""Timers that come due in the hand of an engine that dies: another fires them at once, however rarely it polls."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from domain.run import RunStatus
from engine.parts import Point
from engine.timers import TimerBounds
from tests.engine.test_engine_timers import LONG_SECONDS, until_waiting, waits
from tests.engine.world import PATIENCE_SECONDS, site
from tests.fixtures.graphs import edge, graph, node
from tests.fixtures.waiting import eventually
from tests.kills.checks import check, completions
from tests.kills.graphs import asks
from tests.kills.place import place

RARELY = TimerBounds(poll_seconds=LONG_SECONDS)
SOON_SECONDS = 0.3
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
        if point == Point.TIMER_DUE:
            looked.set()

    async with site(database) as here, site(database) as there, AsyncExitStack() as stays:
        run = await here.begin(AFTER_SOMETHING_LARGE, {"pad": ["x" * 1_000] * 30})
        async with here.engaged("dies", timers=RARELY):
            await until_waiting(here, run, "wait")
            here.contents.open.clear()

            async def in_hand() -> bool:
                return here.contents.waiting > 0

            await eventually(in_hand, what="it is due, and in the hand of the first", seconds=PATIENCE_SECONDS)
            await stays.enter_async_context(there.engaged("stays", timers=RARELY, reached=look))
            await looked.wait()
            assert not (await here.run(run)).ended, "while the first lives the second leaves it alone"
        ended = await there.ended(run)
    assert ended.steps["wait"].attempt == 1


async def test_timers_of_engines_that_are_killed_are_fired_by_those_that_are_left(
    database: str, tmp_path: Path
) -> None:
    """The engines poll once in an hour, and one of them dies before it has told all whose time has come."""
    raw = graph(node("a"), waits(seconds=1), asks("c"), edges=[edge("a", "wait"), edge("wait", "c")])
    async with place(database, tmp_path) as here:
        workflow = await here.commands.workflow(await here.commands.project(), raw)
        rarely = {"CALLSHEET_ENGINE_TIMER_POLL_SECONDS": str(LONG_SECONDS)}
        dies = await here.engine(f"{Point.TIMER_DUE}:2", **rarely)
        begun = [await here.start(workflow, {"name": f"r{number}"}) for number in range(10)]
        await here.engine(**rarely)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await dies.wait()
        for run in begun:
            assert (await here.ended(run)).status is RunStatus.COMPLETED
        streams = await here.streams()
        check(streams, here.models.calls)
        assert here.killed() == 1
    assert all(len(completions(streams[run], "wait")) == 1 for run in begun)
