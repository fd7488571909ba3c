"""Engines killed between a retry and what it settles from a kept output: the model is called exactly once."""

import asyncio
from pathlib import Path
from typing import Final

from commands.runs.lifecycle import RetryRun
from commands.workflow import ChangeWorkflow
from domain.runs.facts import RunRetried, StepFailed
from domain.runs.run import RunStatus, compute_usage_totals
from engine.failpoints import FailPoint
from tests.support.graphs import Json, edge, graph
from tests.support.kills.checks import list_completions, parse_step
from tests.support.kills.environment import WAIT_SECONDS, Environment, open_environment
from tests.support.kills.graphs import asks, format_answer
from tests.support.waiting import eventually

KILLED_AT: Final = (FailPoint.UNCLAIMED, FailPoint.UNCLAIMED, FailPoint.CLAIMED)
"""Twice before what the step gave is settled, and once right after."""


def chain(when: str) -> Json:
    return graph(asks("a"), asks("d"), edges=[edge("a", "d", when=when)])


async def kill_engine(here: Environment, point: FailPoint | None = None) -> None:
    """Kill an engine: at a failpoint, or now."""
    if point is not None:
        engine = await here.engine(f"{point}:0")
    else:
        engine = here.engines[-1]
        engine.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await engine.wait()


async def test_a_kept_output_is_settled_once_however_many_engines_are_killed_over_it(
    database: str, tmp_path: Path
) -> None:
    async with open_environment(database, tmp_path) as here:
        workflow = await here.commands.workflow(await here.commands.project(), chain("steps.a.output.nope == 1"))
        run = await here.start(workflow, {"name": "r"})
        await here.engine()
        assert (await here.wait_until_ended(run)).status is RunStatus.FAILED
        await here.commands.does(RetryRun(target_id=run, user_id="ada"))

        async def has_failed_again() -> bool:
            state = await here.run(run)
            return state.has_ended and state.attempt == 2

        await eventually(has_failed_again, what="it fails again", seconds=WAIT_SECONDS)
        await kill_engine(here)
        await here.commands.does(ChangeWorkflow(target_id=workflow, graph=chain("steps.a.output != ''")))
        await here.commands.does(RetryRun(target_id=run, user_id="ada", newest_graph=True))
        for point in KILLED_AT:
            await kill_engine(here, point)
        await here.engine()
        ended = await here.wait_until_ended(run)
        facts = await here.of(run)
        assert here.count_killed() == 1 + len(KILLED_AT)
        asked = [parse_step(call) for call in here.models.calls]
    assert (ended.status, ended.outputs["d"].value) == (RunStatus.COMPLETED, format_answer("r"))
    assert asked == [("r", "a"), ("r", "d")]
    assert len(list_completions(facts, "a")) == 1
    assert [fact.outputs_kept for fact in facts if isinstance(fact, RunRetried)] == [("a",), ("a",)]
    gave = [fact.gave for fact in facts if isinstance(fact, StepFailed) and fact.node == "a"]
    assert len(gave) == 2
    assert gave[0] == gave[1] == ended.steps["a"].output
    assert compute_usage_totals(ended).model_calls == len(asked)
