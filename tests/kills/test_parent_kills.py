"""Engines killed around the end of a run that has children under way: none of these is left running."""

from pathlib import Path
from uuid import UUID

import pytest

from commands.run_again import CancelRun
from domain.run import RunStatus
from domain.run_facts import RunCancelled, RunStarted
from engine.parts import Point
from tests.engine.child_graphs import maps
from tests.fixtures.graphs import Json, edge, graph
from tests.fixtures.waiting import eventually
from tests.kills.checks import ENDS, check
from tests.kills.graphs import asks, waits
from tests.kills.load import Load, kill
from tests.kills.place import PATIENCE_SECONDS, Place, place

POINTS = (Point.RUN_ENDING, Point.RUN_UNENDED, Point.RUN_ENDED)
ITEMS = 3
LONG_SECONDS = 3_600
STUCK = {"at a call": asks("s", "silent"), "waiting": waits("s", LONG_SECONDS)}
"""The step of a child that does not end by itself: a model that never answers, or a long wait."""


def fails_beside(inner: UUID) -> Json:
    """Give a graph in which a call fails while children are under way."""
    each = maps(inner, inputs={"name": "join('-', [inputs.name, item])"}, concurrency=ITEMS)
    return graph(each, waits("pause", 0.3), asks("x", "status-400"), edges=[edge("pause", "x")])


async def load_of(here: Place, stuck: Json) -> Load:
    project = await here.commands.project()
    inner = await here.commands.workflow(project, graph(stuck))
    outer = await here.commands.workflow(project, fails_beside(inner))
    return Load(here, outer, [f"i{number}" for number in range(ITEMS)])


async def until_all_ended(here: Place) -> None:
    async def holds() -> bool:
        runs = [facts for facts in (await here.streams()).values() if isinstance(facts[0], RunStarted)]
        return all(isinstance(facts[-1], ENDS) for facts in runs)

    await eventually(holds, what=f"no run is left; {here.said()}", seconds=PATIENCE_SECONDS)


async def no_child_is_left(here: Place, load: Load, ends_as: RunStatus) -> None:
    """Wait until everything has ended, and hold the ends to what was to be."""
    await here.engine()
    await until_all_ended(here)
    streams = await here.streams()
    check(streams, here.models.calls)
    for run in load.runs:
        assert (await here.run(run)).status is ends_as
    begun = {run: facts for run, facts in streams.items() if isinstance(facts[0], RunStarted)}
    children = [facts for run, facts in begun.items() if run not in load.runs]
    assert children
    assert all(isinstance(facts[-1], RunCancelled) for facts in children)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("stuck", STUCK)
async def test_a_parent_that_fails_leaves_no_child_running(
    database: str, tmp_path: Path, point: Point, stuck: str
) -> None:
    async with place(database, tmp_path) as here:
        load = await load_of(here, STUCK[stuck])
        await kill(here, point, 2, load.more)
        await no_child_is_left(here, load, RunStatus.FAILED)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("stuck", STUCK)
async def test_parents_that_are_cancelled_leave_no_child_running_in_twenty_kills(
    database: str, tmp_path: Path, point: Point, stuck: str
) -> None:
    async with place(database, tmp_path) as here:
        load = await load_of(here, STUCK[stuck])

        async def cancel_and_more() -> None:
            for run in load.runs:
                await here.commands.refused(CancelRun(target_id=run, user_id="ada"))  # it may have failed by then
            await load.more()

        await kill(here, point, 20, cancel_and_more)
        await here.engine()
        await until_all_ended(here)
        check(await here.streams(), here.models.calls)
