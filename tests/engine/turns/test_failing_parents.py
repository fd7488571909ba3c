"""Runs that fail beside their children, between what they fail by and their end."""

from uuid import UUID

from commands.aggregates import RUN
from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.runs.facts import RunCancelRequested, StepError, StepFailed
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from engine.driving.driver import RunLost
from engine.failpoints import FailPoint
from store.log.records import Actor, Append, Metadata
from tests.engine.children.test_children import list_children, picks, started_with
from tests.support.commands.processes import new_id, now
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, asks, open_harness, reviews
from tests.support.graphs import edge, graph


async def test_a_run_that_is_let_go_as_it_fails_is_gone_on_with_though_its_children_wait(database: str) -> None:
    """Only the children wait: without a status that takeover looks for, the run would stay until one of them ends."""
    times = 0

    def lost_once(point: str) -> None:
        nonlocal times
        times += point == FailPoint.RUN_ENDING
        if point == FailPoint.RUN_ENDING and times == 1:
            raise RunLost

    async with open_harness(database) as harness, harness.run_engine(failpoint=lost_once):
        run = await started_with(
            harness,
            graph(reviews("d")),
            lambda inner: graph(
                runs(inner), asks("wait", "held"), picks("abs('x')", "bad"), edges=[edge("wait", "bad")]
            ),
            {},
        )
        (child,) = list_children(run, (await harness.wait_for_step(run, "inner", StepStatus.WAITING)).steps["inner"])
        await harness.wait_for_step(child, "d", StepStatus.WAITING)
        harness.fake_model.open.set()
        ended = await harness.wait_until(run, lambda state: state.has_ended, "has ended in spite of it")
        await harness.wait_until_ended(child, RunStatus.CANCELLED)
    assert (ended.status, ended.failed_node) == (RunStatus.FAILED, "bad")
    assert times > 1, "the run was let go before it was gone on with"


async def test_children_that_another_engine_asks_to_end_do_not_complete_their_step(database: str) -> None:
    """An engine that was thought to be gone may still record what a run fails by: no step was claimed in between."""
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness,
            graph(reviews("d")),
            lambda inner: graph(maps(inner, on_item_failure="continue"), reviews("h")),
            {"list": [1]},
        )
        await harness.wait_for_step(run, "h", StepStatus.WAITING)
        (child,) = list_children(run, (await harness.wait_for_step(run, "each", StepStatus.WAITING)).steps["each"])
        await harness.wait_for_step(child, "d", StepStatus.WAITING)
        error = StepError(error_class=ErrorClass.DEADLINE, message="nobody decided")
        await say(harness, run, StepFailed(node="h", attempt=1, error=error, failed_at=now()))
        await say(harness, child, RunCancelRequested(requested_by="the other", requested_at=now()))
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    assert ended.failed_node == "h"
    assert ended.steps["each"].status is StepStatus.CANCELLED


async def say(harness: Harness, run: UUID, fact: Fact) -> None:
    """Append a fact as another engine does."""
    held = await harness.streams.reload(RUN, run)
    assert held is not None
    await harness.log.append(
        Append(
            stream_id=run,
            expected_version=held.version,
            workspace_id=held.workspace_id,
            project_id=held.project_id,
            facts=(fact,),
            metadata=Metadata(
                actor=Actor("engine", "the other"), correlation_id=str(new_id()), causation=held.position
            ),
        )
    )
