"""Fair places: a workspace that fills an engine, its lines and the log does not hold up another one."""

from uuid import UUID

import pytest

from commands.project import CreateProject
from commands.run import StartRun
from commands.run_again import CancelRun
from commands.workflow import CreateWorkflow
from domain.payload import Payload
from domain.run import RunStatus
from engine import intake
from tests.commands.processes import ELSEWHERE, new_id
from tests.engine.world import Site, asks, site
from tests.fixtures.graphs import Json, graph, node

HELD = graph(asks("a", "held"))


async def elsewhere(here: Site, raw: Json) -> UUID:
    """Give a workflow in another workspace."""
    project, workflow = new_id(), new_id()
    await here.does(CreateProject(target_id=project, name="Launch", owner="ben"), workspace=ELSEWHERE)
    creation = CreateWorkflow(target_id=workflow, project_id=project, name="Flow", graph=raw)
    await here.does(creation, workspace=ELSEWHERE)
    return workflow


async def start_elsewhere(here: Site, workflow: UUID) -> UUID:
    run = new_id()
    started = StartRun(target_id=run, workflow_id=workflow, inputs=Payload(value={}))
    await here.does(started, workspace=ELSEWHERE)
    return run


async def test_a_workspace_that_fills_the_engine_leaves_places_to_another(database: str) -> None:
    async with site(database) as here, here.engaged(active_runs=4):
        busy = await here.workflow(await here.project(), HELD)
        quick = await elsewhere(here, graph(node("n")))
        # Three of four are its share, up to four more wait, and the others lie in the log.
        held = [await here.start(busy) for _ in range(20)]
        await here.asked("a", times=3)
        for _ in range(10):
            await here.ended(await start_elsewhere(here, quick))
        assert here.gate.calls["a"] == 3
        here.gate.open.set()
        for run in held:
            await here.ended(run)


@pytest.mark.parametrize("others", [1, 30])
async def test_runs_of_one_workspace_that_lie_in_the_log_do_not_hold_back_those_of_another(
    database: str, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PAGE_EVENTS", 7)
    never = 600.0  # it is not the takeover that finds them
    async with site(database) as here, here.engaged(active_runs=4, heartbeat_seconds=never):
        busy = await here.workflow(await here.project(), HELD)
        slow = await elsewhere(here, graph(asks("b", "held")))
        mine = [await here.start(busy)]
        await here.asked("a")  # the engine has looked at what was there before it
        mine += [await here.start(busy) for _ in range(30)]
        await here.asked("a", times=3)
        theirs = [await start_elsewhere(here, slow) for _ in range(others)]
        await here.asked("b")
        await here.does(CancelRun(target_id=theirs[0], user_id="ben"), workspace=ELSEWHERE)
        await here.ended(theirs[0], RunStatus.CANCELLED)
        mine += [await here.start(busy) for _ in range(30)]
        here.gate.open.set()
        for run in [*mine, *theirs[1:]]:
            await here.ended(run)


async def test_an_engine_that_begins_takes_over_the_runs_of_every_workspace(database: str) -> None:
    async with site(database) as here:
        busy = await here.workflow(await here.project(), HELD)
        quick = await elsewhere(here, graph(node("n")))
        mine = [await here.start(busy) for _ in range(20)]
        theirs = [await start_elsewhere(here, quick) for _ in range(5)]
        await here.read_models_know()
        async with here.engaged(active_runs=4):
            for run in theirs:
                await here.ended(run)
            here.gate.open.set()
            for run in mine:
                await here.ended(run)
