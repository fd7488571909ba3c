"""Runs that are cancelled, retried and forked: what each is decided to be, and what is refused."""

from uuid import UUID

from commands.run_again import Again, CancelRun, Fork, ForkRun, RetryRun
from commands.step import CancelRun as EndCancelled
from domain.graph import ErrorClass
from domain.payload import Payload
from domain.run_facts import (
    ForkedFrom,
    Parent,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepError,
    StepReused,
    StepSkipped,
    StepStarted,
)
from domain.run_refusals import RunAlreadyStarted, RunIsChild, RunNotRetriable, RunNotRunning
from domain.run_steps import StepStatus
from tests.commands.scenario import NOW, folded, given, noun_of
from tests.commands.test_run import ID, PINS, PROJECT_ID, STARTED, WORKFLOW_ID

FORK_ID = UUID("0192f000-0000-7000-8000-0000000000d2")
CANCEL = CancelRun(target_id=ID, user_id="ada", reason="too late")
REQUESTED = RunCancelRequested(requested_by="ada", reason="too late", requested_at=NOW)
CANCELLED = RunCancelled(cancelled_at=NOW)
COMPLETED = RunCompleted(output_nodes=(), completed_at=NOW)
ERROR = StepError(error_class=ErrorClass.OVERLOADED, message="busy")
FAILED = RunFailed(node="b", error=ERROR, failed_at=NOW)
CLAIMED = StepStarted(node="a", attempt=1, executor="engine-1", epoch=1, started_at=NOW)
DONE = StepCompleted(node="a", attempt=1, output=Payload(value="x"), edges_taken=(0,), completed_at=NOW)
SKIPPED = StepSkipped(node="no", reason="no edge into this step was taken")
RETRY = RetryRun(target_id=ID, user_id="ada")
AGAIN = Again(workflow_version=2, kept={"a": (0,)}, pins=None)
RETRIED = RunRetried(run_attempt=2, workflow_version=2, kept={"a": (0,)}, pins=None, retried_by="ada", retried_at=NOW)
FORK = ForkRun(target_id=FORK_ID, source_id=ID, node="b")


def test_a_run_is_asked_to_end_once() -> None:
    given(STARTED).when(CANCEL).then(REQUESTED).and_again_nothing()


def test_a_run_that_has_ended_cannot_be_cancelled_unless_it_was() -> None:
    given(STARTED, COMPLETED).when(CANCEL).refuses(RunNotRunning)
    given(STARTED, FAILED).when(CANCEL).refuses(RunNotRunning)
    given(STARTED, REQUESTED, CANCELLED).when(CANCEL).then()


def test_a_retried_run_can_be_cancelled_again() -> None:
    given(STARTED, REQUESTED, CANCELLED, RETRIED).when(CANCEL).then(REQUESTED)


def test_the_engine_ends_a_run_whose_parent_hears_of_it() -> None:
    parent = Parent(run_id=FORK_ID, node="each", item=3)
    child = RunStarted(
        workflow_id=WORKFLOW_ID, workflow_version=2, inputs=Payload(value={}), pins=PINS, parent=parent, started_at=NOW
    )
    ended = RunCancelled(parent=parent, cancelled_at=NOW)
    given(child, REQUESTED).when_the_engine_says(EndCancelled()).then(ended).and_again_nothing()


def test_a_cancel_leaves_what_had_settled_and_cancels_the_rest() -> None:
    busy = StepStarted(node="b", attempt=1, executor="engine-1", epoch=1, started_at=NOW)
    run = folded(noun_of(STARTED), STARTED, CLAIMED, DONE, busy, REQUESTED, CANCELLED)
    assert {name: step.status for name, step in run.steps.items()} == {
        "a": StepStatus.COMPLETED,
        "b": StepStatus.CANCELLED,
    }


def test_a_run_that_another_began_is_not_retried_by_itself() -> None:
    parent = Parent(run_id=FORK_ID, node="each", item=3)
    child = RunStarted(
        workflow_id=WORKFLOW_ID, workflow_version=2, inputs=Payload(value={}), pins=PINS, parent=parent, started_at=NOW
    )
    given(child, FAILED).when(RETRY, AGAIN).refuses(RunIsChild)


def test_only_a_run_that_failed_or_was_cancelled_goes_on() -> None:
    given(STARTED, CLAIMED, DONE, FAILED).when(RETRY, AGAIN).then(RETRIED)
    given(STARTED, CLAIMED, DONE, REQUESTED, CANCELLED).when(RETRY, AGAIN).then(RETRIED)
    given(STARTED, CLAIMED).when(RETRY, AGAIN).refuses(RunNotRetriable)
    given(STARTED, COMPLETED).when(RETRY, AGAIN).refuses(RunNotRetriable)
    given(STARTED, FAILED, RETRIED).when(RETRY, AGAIN).refuses(RunNotRetriable)


def test_a_fork_reuses_outputs_and_skips_what_was_skipped() -> None:
    source = folded(noun_of(STARTED), STARTED, CLAIMED, DONE, SKIPPED, FAILED)
    gathered = Fork(project_id=PROJECT_ID, source=source, workflow_version=3, kept={"a": (4,), "no": ()}, pins=PINS)
    started = RunStarted(
        workflow_id=WORKFLOW_ID,
        workflow_version=3,
        inputs=STARTED.inputs,
        pins=PINS,
        forked_from=ForkedFrom(run_id=ID, node="b"),
        started_at=NOW,
    )
    reused = StepReused(node="a", from_run=ID, output=Payload(value="x"), edges_taken=(4,), reused_at=NOW)
    given().when(FORK, gathered).then(started, reused, SKIPPED)
    given(STARTED).when(FORK, gathered).refuses(RunAlreadyStarted)
