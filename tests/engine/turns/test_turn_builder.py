"""One turn of a run: the facts that results lead to."""

from datetime import UTC, datetime
from random import Random

import pytest

from commands.aggregates import RUN
from commands.runs.lifecycle import select_kept_by_retry
from commands.runs.retained import find_nodes_with_output
from commands.runs.steps import FailRun
from commands.runs.turn import Turn
from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.facts import (
    ItemOutcome,
    ItemResult,
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunFailed,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepError,
    StepFailed,
    StepItemsSettled,
    StepResultRefused,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from domain.runs.run import Run
from engine.children.outcome import CANCELLED
from engine.cluster.owner import Owner
from engine.steps.contract import Failed, ItemsSettled, RetryDue, Succeeded
from engine.steps.run_data import RunData
from engine.turns.schedule import find_due_on_resume
from engine.turns.turn_builder import TurnBuilder, find_run_failure
from tests.support.commands.scenario import fold_state
from tests.support.engine.simulator.random_graphs import GraphCase
from tests.support.engine.simulator.simulator import NOBODY
from tests.support.graphs import edge, graph, node

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSY = StepError(error_class=ErrorClass.OVERLOADED, message="busy")
GRAPH = GraphCase(raw=graph(node("a")), inputs={}, behaviours={}).compiled_graph


def test_an_attempt_whose_time_comes_as_the_run_is_cancelled_is_not_claimed() -> None:
    run: Run = fold_state(
        RUN,
        RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW),
        StepStarted(node="a", attempt=1, executor="engine", epoch=1, started_at=NOW),
        StepFailed(node="a", attempt=1, error=BUSY, retry_at=NOW, failed_at=NOW),
        RunCancelRequested(requested_by="ada", requested_at=NOW),
    )
    progress = TurnBuilder(
        turn=Turn(run, NOW),
        graph=GRAPH,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )
    progress.settle([("a", RetryDue())])
    progress.schedule(find_due_on_resume(GRAPH, progress.turn.run))
    assert progress.turn.facts == [RunCancelled(cancelled_at=NOW)]
    assert progress.started == []


PAID = Usage(model="m", input_tokens=1, output_tokens=1, latency_ms=1.0)
UNDECIDABLE = GraphCase(
    raw=graph(
        *(node(name) for name in "abcde"),
        edges=[
            edge("a", "e", when="steps.a.output.nope == 1"),
            edge("b", "e"),
            edge("c", "e", when="steps.c.output.nope == 1"),
        ],
    ),
    inputs={},
    behaviours={},
).compiled_graph


def create_turn_builder(run: Run) -> TurnBuilder:
    return TurnBuilder(
        turn=Turn(run, NOW),
        graph=UNDECIDABLE,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )


def test_every_answer_of_a_turn_is_kept_though_conditions_behind_two_of_them_fail() -> None:
    started = [StepStarted(node=name, attempt=1, executor="engine", epoch=1, started_at=NOW) for name in "abcd"]
    begun = RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW)
    progress = create_turn_builder(fold_state(RUN, begun, *started))
    gave = [(name, Succeeded(name, Payload(value=name), PAID)) for name in "abc"]
    progress.settle([("d", Failed(BUSY, usage=PAID)), *gave])
    told = [(type(fact), getattr(fact, "node", "")) for fact in progress.turn.facts]
    assert told == [
        (StepFailed, "a"),
        (StepCompleted, "b"),
        (StepFailed, "c"),
        (StepResultRefused, "d"),
        (RunFailed, "a"),
    ]
    kept = [fact.gave for fact in progress.turn.facts if isinstance(fact, StepFailed)]
    assert kept == [Payload(value="a"), Payload(value="c")]
    assert tuple(select_kept_by_retry(progress.turn.run)) == ("b",)
    assert find_nodes_with_output(progress.turn.run) == ("a", "c")


def test_no_attempt_is_claimed_in_the_turn_in_which_a_condition_ends_the_run() -> None:
    started = [StepStarted(node=name, attempt=1, executor="engine", epoch=1, started_at=NOW) for name in "ab"]
    begun = RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW)
    waits = StepFailed(node="b", attempt=1, error=BUSY, retry_at=NOW, failed_at=NOW)
    progress = create_turn_builder(fold_state(RUN, begun, *started, waits))
    progress.settle([("a", Succeeded("a", Payload(value="a"))), ("b", RetryDue())])
    assert [type(fact) for fact in progress.turn.facts] == [StepFailed, RunFailed]
    assert progress.started == []


def failing(*more: Fact) -> Run:
    """Return a run in which "a" waits for a run, and "b" has failed for good."""
    begun = RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW)
    started = [StepStarted(node=name, attempt=1, executor="engine", epoch=1, started_at=NOW) for name in "abc"]
    waits = StepWaiting(node="a", attempt=1, waiting_for=WaitFor.CHILD, children=1, waiting_since=NOW)
    failed = StepFailed(node="b", attempt=1, error=BUSY, usage=PAID, failed_at=NOW)
    return fold_state(RUN, begun, *started, waits, failed, *more)


def test_a_failure_that_stands_in_the_log_is_not_told_of_again_as_too_late() -> None:
    """The append that it stands in had an unknown outcome, so that it is settled a second time."""
    progress = create_turn_builder(failing())
    progress.resume([("b", Failed(BUSY, usage=PAID)), ("c", Failed(BUSY, usage=PAID))])
    told = [(type(fact), getattr(fact, "node", "")) for fact in progress.turn.facts]
    assert told == [(StepResultRefused, "c"), (RunFailed, "b")]


def test_an_attempt_that_is_to_be_made_again_is_told_of_once_too() -> None:
    again = StepFailed(node="c", attempt=1, error=BUSY, usage=PAID, retry_at=NOW, failed_at=NOW)
    progress = create_turn_builder(failing(again))
    progress.resume([("c", Failed(BUSY, usage=PAID))])
    assert [type(fact) for fact in progress.turn.facts] == [RunFailed]


@pytest.mark.parametrize("asked", [(), (RunCancelRequested(requested_by="ada", requested_at=NOW),)])
def test_a_child_that_was_cancelled_as_its_parent_ends_does_not_complete_the_step(asked: tuple[Fact, ...]) -> None:
    """Another engine may have cancelled it, and is about to record the end of the run."""
    cancelled = ItemResult(item=0, run_id=NOBODY, outcome=ItemOutcome.CANCELLED, error=CANCELLED)
    progress = create_turn_builder(failing(*asked))
    progress.resume([("a", ItemsSettled((cancelled,), Succeeded(["a default"], Payload(value=["a default"]))))])
    assert [type(fact) for fact in progress.turn.facts] == [StepItemsSettled, RunCancelled if asked else RunFailed]
    assert "a" not in select_kept_by_retry(progress.turn.run)


def test_a_failed_step_that_an_older_retry_has_kept_does_not_end_the_run_once_more() -> None:
    """Retries kept such a step once where two had failed in one turn; a run that has gone on since goes on."""
    ended = RunFailed(node="c", error=BUSY, failed_at=NOW)
    retried = RunRetried(run_attempt=2, workflow_version=1, kept={"b": ()}, retried_by="ada", retried_at=NOW)
    run = failing(ended, retried)
    assert run.steps["b"].ends_its_run
    assert find_run_failure(run) is None
    again = StepStarted(node="c", attempt=1, executor="engine", epoch=1, started_at=NOW)
    failed = StepFailed(node="c", attempt=1, error=BUSY, failed_at=NOW)
    assert find_run_failure(failing(ended, retried, again, failed)) == FailRun(node="c", error=BUSY)
