"""Engines killed around the end of a run that has children under way: none of these is left running."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from commands.runs.lifecycle import CancelRun
from domain.fact import Fact
from domain.runs.facts import RunCancelled, RunStarted
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from engine.failpoints import FailPoint
from tests.support.engine.child_graphs import maps
from tests.support.graphs import Json, edge, graph
from tests.support.kills.checks import check, has_ended
from tests.support.kills.environment import WAIT_SECONDS, Environment, open_environment
from tests.support.kills.graphs import asks, waits
from tests.support.kills.load import Load, kill
from tests.support.waiting import eventually

POINTS = (FailPoint.RUN_ENDING, FailPoint.RUN_UNENDED, FailPoint.RUN_ENDED)
ITEMS = 3
FAILS_ONCE = "status-400|x1"
"""Another call would be answered well, and the run that it is made for would not fail by it."""
LONG_SECONDS = 3_600
STUCK = {"at a call": asks("s", "silent"), "waiting": waits("s", LONG_SECONDS)}
"""The step of a child that does not end by itself: a model that never answers, or a long wait."""


def fails_beside(inner: UUID, model: str = "status-400") -> Json:
    """Return a graph in which a call fails while children are running."""
    each = maps(inner, inputs={"name": "join('-', [inputs.name, item])"}, concurrency=ITEMS)
    return graph(each, waits("pause", 0.3), asks("x", model), edges=[edge("pause", "x")])


async def create_load(here: Environment, stuck: Json) -> Load:
    project = await here.commands.project()
    inner = await here.commands.workflow(project, graph(stuck))
    outer = await here.commands.workflow(project, fails_beside(inner))
    return Load(here, outer, [f"i{number}" for number in range(ITEMS)])


async def until_all_ended(here: Environment) -> None:
    left: dict[UUID, list[Fact]] = {}

    async def holds() -> bool:
        nonlocal left
        streams = (await here.streams()).items()
        left = {run: facts for run, facts in streams if isinstance(facts[0], RunStarted) and not has_ended(facts)}
        return not left

    try:
        await eventually(holds, what="no run is left", seconds=WAIT_SECONDS)
    except AssertionError as late:
        raise AssertionError(f"{left}\n{here.read_logs()}") from late


async def no_child_is_left(here: Environment, loads: Sequence[Load]) -> None:
    """Wait until everything has ended: the parents by their failure, and the children because of it."""
    await here.engine()
    await until_all_ended(here)
    streams = await here.streams()
    check(streams, here.models.calls)
    parents = {run for load in loads for run in load.runs}
    for run in parents:
        assert (await here.run(run)).status is RunStatus.FAILED
    begun = {run: facts for run, facts in streams.items() if isinstance(facts[0], RunStarted)}
    children = [facts for run, facts in begun.items() if run not in parents]
    assert children
    assert all(isinstance(facts[-1], RunCancelled) for facts in children)


async def test_parents_that_fail_leave_no_child_running(database: str, tmp_path: Path) -> None:
    async with open_environment(database, tmp_path) as here:
        loads = [await create_load(here, stuck) for stuck in STUCK.values()]

        async def more() -> None:
            for load in loads:
                await load.more()

        for point in POINTS:
            await kill(here, point, 2, more)
            assert here.count_killed_at(point) >= 2
        await no_child_is_left(here, loads)


@pytest.mark.parametrize("point", [FailPoint.RUN_ENDING, FailPoint.RUN_UNENDED])
@pytest.mark.parametrize("stuck", STUCK)
async def test_a_parent_whose_engine_is_killed_as_it_fails_ends_by_the_step_that_has_failed(
    database: str, tmp_path: Path, point: FailPoint, stuck: str
) -> None:
    async with open_environment(database, tmp_path) as here:
        project = await here.commands.project()
        inner = await here.commands.workflow(project, graph(STUCK[stuck]))
        outer = await here.commands.workflow(project, fails_beside(inner, FAILS_ONCE))
        run = await here.start(outer, {"name": "p", "list": ["a", "b"]})
        first = await here.engine(f"{point}:0")
        async with asyncio.timeout(WAIT_SECONDS):
            await first.wait()
        await here.engine()
        ended = await here.wait_until_ended(run)
        await until_all_ended(here)
        assert (ended.status, ended.failed_node) == (RunStatus.FAILED, "x")
        assert (ended.steps["x"].attempt, ended.steps["each"].status) == (1, StepStatus.CANCELLED)
        check(await here.streams(), here.models.calls)
        asked = [call for call in here.models.calls if call.behaviour == FAILS_ONCE]
        assert len(asked) == 1, "what has failed is paid for again"


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("stuck", STUCK)
async def test_parents_that_are_cancelled_leave_no_child_running_in_twenty_kills(
    database: str, tmp_path: Path, point: FailPoint, stuck: str
) -> None:
    async with open_environment(database, tmp_path) as here:
        load = await create_load(here, STUCK[stuck])

        async def cancel_and_more() -> None:
            for run in await load.open():
                await here.commands.find_refusal(CancelRun(target_id=run, user_id="ada"))  # it may have failed by then
            await load.more()

        await kill(here, point, 20, cancel_and_more)
        await here.engine()
        await until_all_ended(here)
        check(await here.streams(), here.models.calls)
