"""Engines that ask a real server of models: nobody waits behind a busy workspace, and Retry-After is heeded."""

from pathlib import Path
from uuid import UUID

from commands.project import CreateProject
from commands.runs.start import StartRun
from commands.workflow import CreateWorkflow
from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.facts import StepFailed, StepStarted
from domain.runs.run import RunStatus
from tests.support.commands.processes import ELSEWHERE, new_id
from tests.support.graphs import graph
from tests.support.kills.checks import parse_step
from tests.support.kills.environment import WAIT_SECONDS, Environment, open_environment
from tests.support.kills.graphs import asks
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

MANY = 150
AT_ONCE = 2
WISH_SECONDS = 1


async def workflow_in(here: Environment, workspace: UUID) -> UUID:
    project, workflow = new_id(), new_id()
    await here.commands.does(CreateProject(target_id=project, name="Launch", owner="ada"), workspace=workspace)
    flow = CreateWorkflow(target_id=workflow, project_id=project, name="Flow", graph=graph(asks("a", "slow")))
    await here.commands.does(flow, workspace=workspace)
    return workflow


async def start(here: Environment, workspace: UUID, workflow: UUID, name: str) -> UUID:
    run = new_id()
    begun = StartRun(target_id=run, workflow_id=workflow, inputs=Payload(value={"name": name}))
    await here.commands.does(begun, workspace=workspace)
    return run


async def test_a_workspace_with_one_call_does_not_wait_behind_one_with_many(database: str, tmp_path: Path) -> None:
    async with open_environment(database, tmp_path) as here:
        bounds = {"CALLSHEET_MODEL_CALLS": str(AT_ONCE), "CALLSHEET_MODEL_CALLS_PER_WORKSPACE": str(AT_ONCE)}
        busy, quiet = await workflow_in(here, WORKSPACE), await workflow_in(here, ELSEWHERE)
        many = [await start(here, WORKSPACE, busy, f"busy{number}") for number in range(MANY)]
        await here.engine(**bounds)

        async def all_claimed() -> bool:
            streams = (await here.streams()).values()
            return sum(isinstance(fact, StepStarted) for facts in streams for fact in facts) >= MANY

        await eventually(all_claimed, what="all wait in line", seconds=WAIT_SECONDS)
        assert len(here.models.calls) < MANY // 2, "there is a line"
        run = await start(here, ELSEWHERE, quiet, "quiet")
        assert (await here.wait_until_ended(run)).status is RunStatus.COMPLETED
        names = [parse_step(call)[0] for call in here.models.calls]
        assert names.index("quiet") < MANY * 3 // 4, "its turn comes before that of many who were there first"
        for run in many:
            await here.wait_until_ended(run)


async def test_a_server_that_limits_the_rate_is_left_alone_for_as_long_as_it_asks(
    database: str, tmp_path: Path
) -> None:
    at_once = {"max_attempts": 2, "backoff": {"initial_seconds": 0, "jitter": 0}}
    model = f"status-429?retry-after={WISH_SECONDS}|x1"
    async with open_environment(database, tmp_path) as here:
        workflow = await here.commands.workflow(await here.commands.project(), graph(asks("a", model, retry=at_once)))
        run = await here.start(workflow, {"name": "r"})
        await here.engine()
        assert (await here.wait_until_ended(run)).status is RunStatus.COMPLETED
        facts = await here.of(run)
    [failed] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failed.error.error_class is ErrorClass.RATE_LIMITED
    assert failed.retry_at is not None
    assert (failed.retry_at - failed.failed_at).total_seconds() >= WISH_SECONDS
    [_, again] = [fact for fact in facts if isinstance(fact, StepStarted)]
    assert again.started_at >= failed.retry_at
