"""Engines killed at every point of their work: each run ends right, and no call lacks a recorded attempt."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from domain.runs.run import RunStatus
from engine.failpoints import FailPoint
from tests.support.kills.checks import check, count_lost_attempts, parse_step
from tests.support.kills.environment import Environment, open_environment
from tests.support.kills.graphs import EVERY_POINT, format_answer, maps_it
from tests.support.kills.load import Load, kill

POINTS = (FailPoint.UNCLAIMED, FailPoint.CLAIMED, FailPoint.CALLED, FailPoint.RECORDED, FailPoint.TIMER_DUE)
ENDING = (FailPoint.RUN_ENDING, FailPoint.RUN_UNENDED, FailPoint.RUN_ENDED)
LOSES = {FailPoint.CLAIMED, FailPoint.CALLED}
"""At these points an attempt is under way, which is lost with its engine."""
LONG_KILLS = 20


async def create_load(here: Environment, items: int) -> Load:
    project = await here.commands.project()
    workflow = await here.commands.workflow(project, EVERY_POINT)
    if items:
        workflow = await here.commands.workflow(project, maps_it(workflow))
    return Load(here, workflow, [f"i{number}" for number in range(items)])


def compute_outputs(load: Load, name: str) -> dict[str, object]:
    """Return the outputs that a run must end with."""
    if not load.items:
        return {"d": format_answer(name)}
    return {"last": [format_answer(f"{name}-{item}") for item in load.items]}


async def kill_engines_at(
    database: str, directory: Path, points: Sequence[FailPoint], kills: int, items: int = 0
) -> None:
    """Kill engines at each failpoint, and compare the results of the others with those expected."""
    async with open_environment(database, directory) as here:
        load = await create_load(here, items)
        for point in points:
            await kill(here, point, kills, load.more)
            assert here.count_killed_at(point) >= kills
        if kills == LONG_KILLS and FailPoint.CALLED in points:
            await _until_a_call_is_made_again(here, load)
        await here.engine()
        for run, name in load.runs.items():
            ended = await here.wait_until_ended(run)
            assert ended.status is RunStatus.COMPLETED, ended.error
            assert {node: output.value for node, output in ended.outputs.items()} == compute_outputs(load, name)
        streams = await here.streams()
        check(streams, here.models.calls)
        assert here.count_killed() >= kills * len(points)
    assert count_lost_attempts(streams.values()) >= kills * len(LOSES & set(points))


async def _until_a_call_is_made_again(here: Environment, load: Load) -> None:
    """Kill engines until one had called a model: where there is a map, all of them may have started that."""
    for _ in range(LONG_KILLS):
        asked = Counter(parse_step(call) for call in here.models.calls if call.behaviour == "echo")
        if max(asked.values()) > 1:
            return
        await kill(here, FailPoint.CALLED, 1, load.more)
    raise AssertionError("a lost call is made again")


async def test_engines_killed_at_every_point_leave_runs_that_others_finish(database: str, tmp_path: Path) -> None:
    await kill_engines_at(database, tmp_path, POINTS, kills=2)


async def test_engines_killed_within_a_map_leave_every_item_settled_once(database: str, tmp_path: Path) -> None:
    await kill_engines_at(database, tmp_path, [FailPoint.CALLED], kills=2, items=3)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
async def test_twenty_engines_killed_at_a_point(database: str, tmp_path: Path, point: FailPoint) -> None:
    await kill_engines_at(database, tmp_path, [point], LONG_KILLS)


@pytest.mark.long
@pytest.mark.parametrize("point", [*POINTS, *ENDING])
async def test_twenty_engines_killed_within_a_map(database: str, tmp_path: Path, point: FailPoint) -> None:
    await kill_engines_at(database, tmp_path, [point], LONG_KILLS, items=3)
