"""Attempts that are lost with their engines use up no policy of the step, and have a bound of their own."""

from collections.abc import Callable
from uuid import UUID

import pytest

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING
from domain.runs.facts import Pins, RunStarted, StepCompleted, StepError, StepFailed, StepStarted
from domain.runs.run import Run, RunStatus, evolve
from domain.runs.steps import StepStatus
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.steps.contract import Failed
from engine.turns.lost_attempts import fail_repeatedly_lost
from projections.read_models.runs_view import RunsView
from tests.support.commands.scenario import NOW
from tests.support.engine.fake_model import FakeModel
from tests.support.engine.harness import Harness, asks, check_history, open_harness
from tests.support.graphs import edge, graph, node
from tests.support.waiting import eventually

BOUND = 5
"""How many attempts in a row may be lost, where nothing else is set."""
AGAIN = {"max_attempts": 2, "backoff": {"initial_seconds": 0, "jitter": 0}}


class Unlucky(FakeModel):
    """A model that answers nothing at first, then has too much to do once, and then answers."""

    held = 2

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        if self.calls[request.prompt] == self.held:
            self.open.set()
            self.calls[request.prompt] += 1
            raise ProviderFault(ErrorClass.OVERLOADED, "not now")
        return await super().complete(request, on_delta)


async def lose(harness: Harness, step: str, times: int) -> None:
    """Begin an attempt in several engines, one after the other, and lose each of them before it has a result."""
    for number in range(1, times + 1):
        async with harness.run_engine(f"engine {number}"):
            await harness.wait_until_called(step, times=number)


def failures_in(facts: list[Fact]) -> list[tuple[ErrorClass, bool]]:
    """Return the error class of each failed attempt, and whether another followed."""
    return [(f.error.error_class, f.retry_at is not None) for f in facts if isinstance(f, StepFailed)]


async def test_what_is_lost_with_its_engine_does_not_use_up_the_attempts_of_a_policy(database: str) -> None:
    async with open_harness(database, Unlucky()) as harness:
        run = await harness.begin(graph(asks("a", "held", retry=AGAIN)))
        await lose(harness, "a", Unlucky.held)
        async with harness.run_engine("last"):
            ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    lost = (ErrorClass.OWNER_LOST, True)
    assert failures_in(facts) == [lost, lost, (ErrorClass.OVERLOADED, True)]
    assert (ended.steps["a"].attempt, ended.steps["a"].lost, ended.steps["a"].failures) == (4, 2, 2)
    check_history(facts)


async def test_a_step_whose_engines_are_lost_in_a_row_fails_for_good_and_says_so(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(graph(asks("a", "held", retry={**AGAIN, "retry_on": ["owner_lost"]})))
        await lose(harness, "a", BOUND)
        async with harness.run_engine("last"):
            ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
    assert ended.failed_node == "a"
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.OWNER_LOST
    assert ended.error.message.startswith("5 attempts in a row were lost")
    assert failures_in(facts) == [(ErrorClass.OWNER_LOST, True)] * (BOUND - 1) + [(ErrorClass.OWNER_LOST, False)]
    assert harness.fake_model.calls["a"] == BOUND, "nobody begins it once more"
    check_history(facts)


async def test_a_step_that_may_end_engines_leads_on_as_its_graph_says(database: str) -> None:
    instead = {"action": "continue", "output": "a default"}
    chain = graph(asks("a", "held", on_error=instead), node("b", config={"expression": "steps.a.output"}))
    chain["edges"] = [edge("a", "b")]
    async with open_harness(database) as harness:
        run = await harness.begin(chain)
        await lose(harness, "a", BOUND)
        async with harness.run_engine("last"):
            ended = await harness.wait_until_ended(run)
        check_history(await harness.list_facts(run))
    assert ended.steps["a"].status is StepStatus.FAILED
    assert ended.outputs["b"].value == "a default"


async def test_a_run_that_nobody_has_in_hand_is_claimed_before_anything_is_done_for_it(database: str) -> None:
    """An immediate step that ends its engine in the very turn that begins a run would otherwise leave no trace."""
    async with open_harness(database) as harness:
        run = await harness.begin(graph(node("a")))
        began = (await harness.facts(run))[0].position

        async def is_projected() -> bool:
            return await RunsView(harness.models).position() >= began

        await eventually(is_projected, what="the run is found in the read model, and not as it begins")
        async with harness.run_engine():
            await harness.wait_until_ended(run)
        recorded_at = {type(event.fact): event.recorded_at for event in await harness.facts(run)}
    assert recorded_at[StepStarted] < recorded_at[StepCompleted], "each stands in an append of its own"


def build_start(attempt: int) -> StepStarted:
    return StepStarted(node="a", attempt=attempt, executor="engine", epoch=attempt, started_at=NOW)


def build_failure(attempt: int, error_class: ErrorClass) -> StepFailed:
    error = StepError(error_class=error_class, message="no")
    return StepFailed(node="a", attempt=attempt, error=error, retry_at=NOW, failed_at=NOW)


@pytest.mark.parametrize(
    ("ends", "given_up"),
    [("", False), ("l", False), ("ll", True), ("lll", True), ("lo", False), ("lol", False), ("loll", True)],
)
def test_a_failure_of_its_own_begins_the_count_anew(ends: str, given_up: bool) -> None:  # noqa: FBT001  # a parameter
    run = evolve(
        Run(),
        RunStarted(workflow_id=UUID(int=1), workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=NOW),
    )
    for attempt, letter in enumerate(ends, start=1):
        why = ErrorClass.OWNER_LOST if letter == "l" else ErrorClass.OVERLOADED
        run = evolve(evolve(run, build_start(attempt)), build_failure(attempt, why))
    run = evolve(run, build_start(len(ends) + 1))
    assert fail_repeatedly_lost(run, len(ends) + 1, 3) == [], "this engine has it under way"
    found = fail_repeatedly_lost(run, 99, 3)
    assert [node_id for node_id, _ in found] == (["a"] if given_up else [])
    assert all(isinstance(result, Failed) for _, result in found)
    assert run.steps["a"].lost == ends.count("l")
