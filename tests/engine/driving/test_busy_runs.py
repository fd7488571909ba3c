"""People at runs that are busy: who cancels or decides does not lose to an engine that appends all the time."""

from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from commands.runs.lifecycle import CancelRun
from commands.runs.start import DecideStep, StartRun
from domain.payload import NOTHING, Payload
from domain.runs.facts import StepWaiting
from domain.runs.refusals import RunNotRunning
from domain.runs.run import RunStatus
from tests.support.commands.processes import Process, new_id
from tests.support.engine.harness import open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.kills.environment import open_environment
from tests.support.waiting import eventually

STEPS = 250
SECONDS = 60


def busy(*beside: Json) -> Json:
    """Return a graph of many immediate steps in sequence: its run is appended to without a pause."""
    chain = [f"n{number}" for number in range(STEPS)]
    edges = [edge(source, target) for source, target in pairwise(chain)]
    return graph(*map(node, chain), *beside, edges=edges)


async def under_way(harness: Process, workflow: UUID, facts: int) -> UUID:
    """Start a run, and wait until it has come so far."""
    run = new_id()
    await harness.does(StartRun(target_id=run, workflow_id=workflow, inputs=NOTHING))

    async def holds() -> bool:
        return bool(await harness.log.read_stream(run, after=facts, limit=1))

    await eventually(holds, what="the run is under way", seconds=SECONDS)
    return run


async def cancel_runs(harness: Process, times: int) -> None:
    """Cancel so many runs, each somewhere in the middle."""
    workflow = await harness.workflow(await harness.project(), busy())
    random, came_to = Random(times), Counter[str]()  # noqa: S311  # where in the middle
    for _ in range(times):
        run = await under_way(harness, workflow, random.randrange(1, STEPS))
        refused = await harness.find_refusal(CancelRun(target_id=run, user_id="ada"))
        assert refused in {None, RunNotRunning}, refused
        came_to["ended" if refused else "accepted"] += 1

        async def has_ended(run: UUID = run) -> bool:
            return (await harness.facts(run))[-1].fact.__struct_config__.tag in {"run.cancelled", "run.completed"}

        await eventually(has_ended, what="the run has ended", seconds=SECONDS)
    assert came_to["accepted"] > times // 2, f"hardly any was still under way: {came_to}"


async def decide_runs(harness: Process, state_of: Callable[[UUID], Awaitable[RunStatus]], times: int) -> None:
    """Decide a human step in the middle of each of several runs."""
    workflow = await harness.workflow(await harness.project(), busy(reviews("d")))
    random = Random(times)  # noqa: S311  # where in the middle
    for _ in range(times):
        run = await under_way(harness, workflow, random.randrange(4, STEPS))

        async def asks(run: UUID = run) -> bool:
            return any(isinstance(event.fact, StepWaiting) for event in await harness.facts(run))

        await eventually(asks, what="the person is asked", seconds=SECONDS)  # behind the first turn, which is longer
        answer = DecideStep(
            target_id=run,
            node="d",
            outcome="approve",
            data={},
            data_payload=Payload(value={}),
            comment=None,
            user_id="rita",
        )
        assert await harness.find_refusal(answer) is None

        async def is_completed(run: UUID = run) -> bool:
            return await state_of(run) is RunStatus.COMPLETED

        await eventually(is_completed, what="the run has ended", seconds=SECONDS)


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_whoever_cancels_a_busy_run_is_heard_beside_an_engine_in_the_same_process(
    database: str, times: int
) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        await cancel_runs(harness, times)


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_whoever_cancels_a_busy_run_is_heard_beside_an_engine_in_another_process(
    database: str, tmp_path: Path, times: int
) -> None:
    async with open_environment(database, tmp_path) as harness:
        await harness.engine()
        await cancel_runs(harness.commands, times)


async def test_whoever_decides_in_a_busy_run_is_heard(database: str, tmp_path: Path) -> None:
    async with open_environment(database, tmp_path) as harness:
        await harness.engine()

        async def status(run: UUID) -> RunStatus:
            return (await harness.run(run)).status

        await decide_runs(harness.commands, status, 20)
