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
from tests.support.engine.harness import Harness, asks, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

HELD = graph(asks("a", "held"))
NEVER = 600.0
"""Between two heartbeats: it is not the takeover that finds what has begun."""


async def elsewhere(harness: Harness, raw: Json) -> UUID:
    """Create a workflow in another workspace."""
    project, workflow = new_id(), new_id()
    await harness.does(CreateProject(target_id=project, name="Launch", owner="ben"), workspace=ELSEWHERE)
    creation = CreateWorkflow(target_id=workflow, project_id=project, name="Flow", graph=raw)
    await harness.does(creation, workspace=ELSEWHERE)
    return workflow


async def start_elsewhere(harness: Harness, workflow: UUID) -> UUID:
    run = new_id()
    started = StartRun(target_id=run, workflow_id=workflow, inputs=Payload(value={}))
    await harness.does(started, workspace=ELSEWHERE)
    return run


async def test_a_workspace_that_fills_the_engine_leaves_places_to_another(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=4):
        busy = await harness.workflow(await harness.project(), HELD)
        quick = await elsewhere(harness, graph(node("n")))
        # Three of four are its share, up to four more wait, and the others lie in the log.
        held = [await harness.start(busy) for _ in range(20)]
        await harness.wait_until_called("a", times=3)
        for _ in range(10):
            await harness.wait_until_ended(await start_elsewhere(harness, quick))
        assert harness.fake_model.calls["a"] == 3
        harness.fake_model.open.set()
        for run in held:
            await harness.wait_until_ended(run)


@pytest.mark.parametrize("others", [1, 30])
async def test_runs_of_one_workspace_that_lie_in_the_log_do_not_hold_back_those_of_another(
    database: str, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PAGE_EVENTS", 7)  # so that it takes many pages to catch up
    async with open_harness(database) as harness, harness.run_engine(active_runs=4, heartbeat_seconds=NEVER):
        busy = await harness.workflow(await harness.project(), HELD)
        slow = await elsewhere(harness, graph(asks("b", "held")))
        mine = [await harness.start(busy)]
        await harness.wait_until_called("a")  # the engine has looked at what was there before it
        mine += [await harness.start(busy) for _ in range(30)]
        await harness.wait_until_called("a", times=3)
        theirs = [await start_elsewhere(harness, slow) for _ in range(others)]
        await harness.wait_until_called("b")
        await harness.does(CancelRun(target_id=theirs[0], user_id="ben"), workspace=ELSEWHERE)
        await harness.wait_until_ended(theirs[0], RunStatus.CANCELLED)
        mine += [await harness.start(busy) for _ in range(30)]
        harness.fake_model.open.set()
        for run in [*mine, *theirs[1:]]:
            await harness.wait_until_ended(run)


async def test_an_engine_that_begins_takes_over_the_runs_of_every_workspace(database: str) -> None:
    async with open_harness(database) as harness:
        busy = await harness.workflow(await harness.project(), HELD)
        quick = await elsewhere(harness, graph(node("n")))
        mine = [await harness.start(busy) for _ in range(20)]
        theirs = [await start_elsewhere(harness, quick) for _ in range(5)]
        await harness.wait_for_read_models()
        async with harness.run_engine(active_runs=4):
            for run in theirs:
                await harness.wait_until_ended(run)
            harness.fake_model.open.set()
            for run in mine:
                await harness.wait_until_ended(run)


async def test_what_an_engine_takes_over_of_one_workspace_does_not_stand_before_what_it_takes_over_of_another(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "PAGE_RUNS", 5)  # so that it takes many pages to take over
    async with open_harness(database) as harness:
        busy = await harness.workflow(await harness.project(), HELD)
        quick = await elsewhere(harness, graph(node("n")))
        mine = [await harness.start(busy) for _ in range(60)]
        theirs = [await start_elsewhere(harness, quick) for _ in range(3)]
        await harness.wait_for_read_models()
        async with harness.run_engine(active_runs=3):
            await harness.wait_until_called("a", times=3)  # it has all places of so few
            harness.fake_model.open.set()
            for run in [*mine, *theirs]:
                await harness.wait_until_ended(run)
            ends = [(await harness.facts(run))[-1].position for run in mine]
            last = max([(await harness.facts(run))[-1].position for run in theirs])
            assert sum(position < last for position in ends) < 30


async def test_what_many_people_have_decided_at_once_does_not_hold_up_another_workspace(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=4, heartbeat_seconds=NEVER):
        project = await harness.project()
        reviewed = await harness.workflow(project, graph(reviews("d"), asks("b", "held"), edges=[edge("d", "b")]))
        quick = await elsewhere(harness, graph(node("n")))
        mine = [await harness.start(reviewed) for _ in range(20)]
        for run in mine:
            await harness.wait_until(run, lambda state: state.waiting == 1, "waits")
        held = [await harness.start(await harness.workflow(project, HELD)) for _ in range(3)]
        await harness.wait_until_called("a", times=3)
        for run in mine:  # more than may wait for a place
            await harness.decide(run, "d")
        for _ in range(5):
            await harness.wait_until_ended(await start_elsewhere(harness, quick))
        assert harness.fake_model.calls["b"] == 0
        harness.fake_model.open.set()
        for run in [*held, *mine]:
            await harness.wait_until_ended(run)


async def test_a_run_is_read_from_the_log_in_its_turn_however_many_of_another_workspace_are_to_be_read(
    database: str,
) -> None:
    async with open_harness(database) as harness, harness.run_engine(heartbeat_seconds=NEVER):
        asked = graph(reviews("d"))
        busy, quiet = await harness.workflow(await harness.project(), asked), await elsewhere(harness, asked)
        mine, theirs = [await harness.start(busy) for _ in range(60)], await start_elsewhere(harness, quiet)
        for run in [*mine, theirs]:
            await harness.wait_until(run, lambda state: state.waiting == 1, "waits")
        async with open_connection(database) as locking:
            await locking.execute("begin")
            await locking.execute("lock table run_leases")  # none is read as long as that lasts
            for run in mine:
                await harness.decide(run, "d")
            await harness.decide(theirs, "d", workspace=ELSEWHERE)
        ended = [(await harness.facts(run))[-1].position for run in mine if await harness.wait_until_ended(run)]
        await harness.wait_until_ended(theirs)
        last = (await harness.facts(theirs))[-1].position
        assert sum(position < last for position in ended) < 30


async def test_a_workspace_that_cancels_much_at_once_holds_up_neither_runs_nor_cancels_of_another(
    database: str,
) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=4, ending_runs=4):
        busy = await harness.workflow(await harness.project(), HELD)
        inputs = await keep(harness.contents, WORKSPACE, {"text": "x" * 50_000})
        reviewed, quick = await elsewhere(harness, graph(reviews("d"))), await elsewhere(harness, graph(node("n")))
        theirs = [await start_elsewhere(harness, reviewed) for _ in range(3)]
        held = [await harness.start(busy) for _ in range(3)]
        await harness.wait_until_called("a", times=3)
        large = [StartRun(target_id=new_id(), workflow_id=busy, inputs=inputs) for _ in range(20)]
        harness.contents.open.clear()  # so that none of those comes to its end
        for run in large:
            await harness.does(run)
            await harness.does(CancelRun(target_id=run.target_id, user_id="ada"))

        async def ending() -> bool:
            return harness.contents.waiting >= 3

        await eventually(ending, what="some of them are to be ended")
        for run in theirs:
            await harness.wait_until_ended(await start_elsewhere(harness, quick))
            await harness.does(CancelRun(target_id=run, user_id="ben"), workspace=ELSEWHERE)
            await harness.wait_until_ended(run, RunStatus.CANCELLED)
        harness.contents.open.set()
        for run in large:
            await harness.wait_until_ended(run.target_id, RunStatus.CANCELLED)
        harness.fake_model.open.set()
        for run in held:
            await harness.wait_until_ended(run)
