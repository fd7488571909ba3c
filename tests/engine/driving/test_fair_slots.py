"""Fair places: a workspace that fills an engine, its lines and the log does not hold up another one."""

from uuid import UUID

import pytest

from commands.project import CreateProject
from commands.runs.lifecycle import CancelRun
from commands.runs.start import StartRun
from commands.workflow import CreateWorkflow
from domain.payload import Payload
from domain.runs.run import RunStatus
from engine.driving import intake, takeover
from store.contents import keep
from store.postgres.connections import open_connection
from tests.support.commands.processes import ELSEWHERE, new_id
from tests.support.engine.harness import Site, asks, reviews, site
from tests.support.graphs import Json, edge, graph, node
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

HELD = graph(asks("a", "held"))
NEVER = 600.0
"""Between two heartbeats: it is not the takeover that finds what has begun."""


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
    monkeypatch.setattr(intake, "PAGE_EVENTS", 7)  # so that it takes many pages to catch up
    async with site(database) as here, here.engaged(active_runs=4, heartbeat_seconds=NEVER):
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


async def test_what_an_engine_takes_over_of_one_workspace_does_not_stand_before_what_it_takes_over_of_another(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "PAGE_RUNS", 5)  # so that it takes many pages to take over
    async with site(database) as here:
        busy = await here.workflow(await here.project(), HELD)
        quick = await elsewhere(here, graph(node("n")))
        mine = [await here.start(busy) for _ in range(60)]
        theirs = [await start_elsewhere(here, quick) for _ in range(3)]
        await here.read_models_know()
        async with here.engaged(active_runs=3):
            await here.asked("a", times=3)  # it has all places of so few
            here.gate.open.set()
            for run in [*mine, *theirs]:
                await here.ended(run)
            ends = [(await here.facts(run))[-1].position for run in mine]
            last = max([(await here.facts(run))[-1].position for run in theirs])
            assert sum(position < last for position in ends) < 30


async def test_what_many_people_have_decided_at_once_does_not_hold_up_another_workspace(database: str) -> None:
    async with site(database) as here, here.engaged(active_runs=4, heartbeat_seconds=NEVER):
        project = await here.project()
        reviewed = await here.workflow(project, graph(reviews("d"), asks("b", "held"), edges=[edge("d", "b")]))
        quick = await elsewhere(here, graph(node("n")))
        mine = [await here.start(reviewed) for _ in range(20)]
        for run in mine:
            await here.until(run, lambda state: state.waiting == 1, "waits")
        held = [await here.start(await here.workflow(project, HELD)) for _ in range(3)]
        await here.asked("a", times=3)
        for run in mine:  # more than may wait for a place
            await here.decide(run, "d")
        for _ in range(5):
            await here.ended(await start_elsewhere(here, quick))
        assert here.gate.calls["b"] == 0
        here.gate.open.set()
        for run in [*held, *mine]:
            await here.ended(run)


async def test_a_run_is_read_from_the_log_in_its_turn_however_many_of_another_workspace_are_to_be_read(
    database: str,
) -> None:
    async with site(database) as here, here.engaged(heartbeat_seconds=NEVER):
        asked = graph(reviews("d"))
        busy, quiet = await here.workflow(await here.project(), asked), await elsewhere(here, asked)
        mine, theirs = [await here.start(busy) for _ in range(60)], await start_elsewhere(here, quiet)
        for run in [*mine, theirs]:
            await here.until(run, lambda state: state.waiting == 1, "waits")
        async with open_connection(database) as locking:
            await locking.execute("begin")
            await locking.execute("lock table run_leases")  # none is read as long as that lasts
            for run in mine:
                await here.decide(run, "d")
            await here.decide(theirs, "d", workspace=ELSEWHERE)
        ended = [(await here.facts(run))[-1].position for run in mine if await here.ended(run)]
        await here.ended(theirs)
        last = (await here.facts(theirs))[-1].position
        assert sum(position < last for position in ended) < 30


async def test_a_workspace_that_cancels_much_at_once_holds_up_neither_runs_nor_cancels_of_another(
    database: str,
) -> None:
    async with site(database) as here, here.engaged(active_runs=4, ending_runs=4):
        busy = await here.workflow(await here.project(), HELD)
        inputs = await keep(here.contents, WORKSPACE, {"text": "x" * 50_000})
        reviewed, quick = await elsewhere(here, graph(reviews("d"))), await elsewhere(here, graph(node("n")))
        theirs = [await start_elsewhere(here, reviewed) for _ in range(3)]
        held = [await here.start(busy) for _ in range(3)]
        await here.asked("a", times=3)
        large = [StartRun(target_id=new_id(), workflow_id=busy, inputs=inputs) for _ in range(20)]
        here.contents.open.clear()  # so that none of those comes to its end
        for one in large:
            await here.does(one)
            await here.does(CancelRun(target_id=one.target_id, user_id="ada"))

        async def ending() -> bool:
            return here.contents.waiting >= 3

        await eventually(ending, what="some of them are to be ended")
        for run in theirs:
            await here.ended(await start_elsewhere(here, quick))
            await here.does(CancelRun(target_id=run, user_id="ben"), workspace=ELSEWHERE)
            await here.ended(run, RunStatus.CANCELLED)
        here.contents.open.set()
        for one in large:
            await here.ended(one.target_id, RunStatus.CANCELLED)
        here.gate.open.set()
        for run in held:
            await here.ended(run)
