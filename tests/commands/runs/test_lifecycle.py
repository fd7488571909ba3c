"""Runs that are cancelled, retried and forked: what each is decided to be, and what is refused."""

from uuid import UUID

from msgspec.structs import replace

from commands.runs.lifecycle import CancelRun, ForkRun, ForkSources, RetryRun, RetrySources, select_kept_by_retry
from commands.runs.retained import find_nodes_with_output
from commands.runs.steps import CancelRun as EndCancelled
from commands.runs.steps import CompleteStep, StartStep
from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.facts import (
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
    StepFailed,
    StepReused,
    StepSkipped,
    StepStarted,
    Usage,
)
from domain.runs.refusals import RunAlreadyStarted, RunIsChild, RunNotRetriable, RunNotRunning
from domain.runs.run import compute_usage_totals
from domain.runs.steps import StepStatus
from tests.commands.runs.test_start import ID, PINS, PROJECT_ID, STARTED, WORKFLOW_ID
from tests.support.commands.scenario import NOW, find_noun, fold_state, given

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
AGAIN = RetrySources(workflow_version=2, kept={"a": (0,)}, pins=None)
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
    given(child, REQUESTED).when_engine_decides(EndCancelled()).then(ended).and_again_nothing()


def test_a_cancel_leaves_what_had_settled_and_cancels_the_rest() -> None:
    busy = StepStarted(node="b", attempt=1, executor="engine-1", epoch=1, started_at=NOW)
    run = fold_state(find_noun(STARTED), STARTED, CLAIMED, DONE, busy, REQUESTED, CANCELLED)
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
    source = fold_state(find_noun(STARTED), STARTED, CLAIMED, DONE, SKIPPED, FAILED)
    gathered = ForkSources(
        project_id=PROJECT_ID, source=source, workflow_version=3, kept={"a": (4,), "no": ()}, pins=PINS
    )
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


UNDECIDED = StepFailed(
    node="b",
    attempt=1,
    error=StepError(error_class=ErrorClass.EXPRESSION, message="no such key"),
    gave=Payload(value="y"),
    usage=Usage(model="m", input_tokens=1, output_tokens=1, latency_ms=1.0),
    failed_at=NOW,
)
BEGUN = (STARTED, CLAIMED, DONE, StepStarted(node="b", attempt=1, executor="engine-1", epoch=1, started_at=NOW))
KEPT = replace(RETRIED, outputs_kept=("b",))


def test_a_step_that_gave_something_before_it_failed_is_not_done_but_its_output_is_kept() -> None:
    run = fold_state(find_noun(STARTED), *BEGUN, UNDECIDED, FAILED)
    assert (select_kept_by_retry(run), find_nodes_with_output(run)) == ({"a": (0,)}, ("b",))
    given(*BEGUN, UNDECIDED, FAILED).when(RETRY, replace(AGAIN, outputs_kept=("b",))).then(KEPT)


def test_a_given_step_is_settled_once_and_never_started() -> None:
    settled = CompleteStep(node="b", output=Payload(value="y"), edges_taken=())
    completed = StepCompleted(node="b", attempt=1, output=Payload(value="y"), completed_at=NOW)
    again = given(*BEGUN, UNDECIDED, FAILED, KEPT)
    again.when_engine_decides(StartStep(node="b", executor="engine-2", epoch=2)).then()
    again.when_engine_decides(settled).then(completed).and_again_nothing()


def test_what_a_given_step_took_counts_once() -> None:
    completed = StepCompleted(node="b", attempt=1, output=Payload(value="y"), completed_at=NOW)
    for rest in ((), (KEPT,), (KEPT, completed), (KEPT, replace(UNDECIDED, usage=None), FAILED, KEPT, completed)):
        assert compute_usage_totals(fold_state(find_noun(STARTED), *BEGUN, UNDECIDED, FAILED, *rest)).model_calls == 1


def test_a_step_that_gave_nothing_begins_anew_whatever_a_retry_says() -> None:
    assert "b" not in fold_state(find_noun(STARTED), *BEGUN, replace(UNDECIDED, gave=None), FAILED, KEPT).steps
