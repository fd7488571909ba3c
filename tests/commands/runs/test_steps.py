"""Steps: what an engine says in its turns, and that saying it again adds nothing."""

from uuid import UUID

from commands.runs.steps import (
    CompleteRun,
    CompleteStep,
    FailRun,
    FailStep,
    RejectAnswer,
    SkipStep,
    StartStep,
    WaitInStep,
)
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING, Payload
from domain.runs.facts import (
    AnswerRejected,
    Pins,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from tests.support.commands.scenario import NOW, given

STARTED = RunStarted(workflow_id=UUID(int=1), workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=NOW)
ERROR = StepError(error_class=ErrorClass.OVERLOADED, message="busy")
LOST = StepError(error_class=ErrorClass.OWNER_LOST, message="the engine that had claimed this attempt is gone")
USAGE = Usage(model="scripted/x", input_tokens=1, output_tokens=2, latency_ms=3.0)
OUTPUT = Payload(value={"x": 1})
WAITING = StepWaiting(node="a", attempt=1, waiting_for=WaitFor.HUMAN, outcomes=("approve",), waiting_since=NOW)
DECIDED = StepDecided(node="a", outcome="approve", data=NOTHING, decided_by="bo", shown_hash=None, decided_at=NOW)
COMPLETED = StepCompleted(node="a", attempt=1, output=OUTPUT, edges_taken=(0,), usage=USAGE, completed_at=NOW)
RETRYING = StepFailed(node="a", attempt=1, error=ERROR, retry_at=NOW, failed_at=NOW)
FAILED = StepFailed(node="a", attempt=1, error=ERROR, failed_at=NOW)
START = StartStep(node="a", executor="engine-1", epoch=1)
COMPLETE = CompleteStep(node="a", output=OUTPUT, edges_taken=(0,), usage=USAGE)
FAIL = FailStep(node="a", error=ERROR)
RETRY = FailStep(node="a", error=ERROR, retry_at=NOW)
WAIT = WaitInStep(waiting=WAITING)
SKIP = SkipStep(node="a", reason="no edge")


def claim_step(attempt: int = 1, epoch: int = 1) -> StepStarted:
    return StepStarted(node="a", attempt=attempt, executor="engine-1", epoch=epoch, started_at=NOW)


def reject(attempt: int = 1, repair: int = 1) -> RejectAnswer:
    return RejectAnswer(node="a", attempt=attempt, repair=repair, problems=("/n: no",), usage=USAGE)


def reject_answer(repair: int = 1) -> AnswerRejected:
    return AnswerRejected(node="a", attempt=1, repair=repair, problems=("/n: no",), usage=USAGE, rejected_at=NOW)


def test_each_rejected_answer_is_recorded_once_while_its_attempt_goes_on() -> None:
    given(STARTED, claim_step()).when_engine_decides(reject(), reject(), reject(repair=2)).then(
        reject_answer(), reject_answer(2)
    ).and_again_nothing()


def test_an_answer_of_an_attempt_that_is_over_is_not_recorded_as_rejected() -> None:
    given(STARTED, claim_step(), COMPLETED).when_engine_decides(reject()).then()
    given(STARTED, claim_step(), RETRYING, claim_step(2)).when_engine_decides(reject()).then()


def test_a_step_is_claimed_as_its_first_attempt() -> None:
    given(STARTED).when_engine_decides(START).then(claim_step()).and_again_nothing()


def test_a_step_is_claimed_once_in_a_turn() -> None:
    given(STARTED).when_engine_decides(START, START).then(claim_step())


def test_an_attempt_of_an_owner_that_is_gone_is_recorded_as_lost_before_the_next() -> None:
    again = StartStep(node="a", executor="engine-1", epoch=2)
    given(STARTED, claim_step()).when_engine_decides(again).then(
        StepFailed(node="a", attempt=1, error=LOST, retry_at=NOW, failed_at=NOW), claim_step(2, epoch=2)
    ).and_again_nothing()


def test_a_step_is_tried_again_as_its_next_attempt() -> None:
    given(STARTED, claim_step(), RETRYING).when_engine_decides(START).then(claim_step(2)).and_again_nothing()


def test_a_step_that_waits_was_decided_or_settled_is_not_started_again() -> None:
    for before in ((WAITING,), (WAITING, DECIDED), (COMPLETED,), (FAILED,)):
        for epoch in (1, 2):
            again = StartStep(node="a", executor="engine-1", epoch=epoch)
            given(STARTED, claim_step(), *before).when_engine_decides(again).then()
    given(STARTED, StepSkipped(node="a", reason="no edge")).when_engine_decides(START).then()


def test_an_attempt_gives_its_output_with_usage_and_edges() -> None:
    given(STARTED, claim_step()).when_engine_decides(COMPLETE).then(COMPLETED).and_again_nothing()


def test_a_completion_is_of_the_latest_attempt() -> None:
    bare = CompleteStep(node="a", output=OUTPUT, edges_taken=())
    given(STARTED, claim_step(), RETRYING, claim_step(2)).when_engine_decides(bare).then(
        StepCompleted(node="a", attempt=2, output=OUTPUT, completed_at=NOW)
    )


def test_a_settled_step_comes_to_nothing_else() -> None:
    for settled in (COMPLETED, FAILED, RETRYING):
        for command in (COMPLETE, FAIL, RETRY, WAIT, SKIP):
            given(STARTED, claim_step(), settled).when_engine_decides(command).then()


def test_a_skipped_step_comes_to_nothing_else() -> None:
    for command in (COMPLETE, FAIL, RETRY, WAIT, SKIP):
        given(STARTED, StepSkipped(node="a", reason="no edge")).when_engine_decides(command).then()


def test_an_attempt_fails_for_good_or_until_the_next() -> None:
    given(STARTED, claim_step()).when_engine_decides(FAIL).then(FAILED).and_again_nothing()
    given(STARTED, claim_step()).when_engine_decides(RETRY).then(RETRYING).and_again_nothing()


def test_a_failure_may_lead_on_as_if_it_had_given_something() -> None:
    command = FailStep(node="a", error=ERROR, edges_taken=(1,), continued_with=OUTPUT, usage=USAGE)
    given(STARTED, claim_step()).when_engine_decides(command).then(
        StepFailed(
            node="a", attempt=1, error=ERROR, edges_taken=(1,), continued_with=OUTPUT, usage=USAGE, failed_at=NOW
        )
    )


def test_a_step_waits_once_for_one_person() -> None:
    given(STARTED, claim_step()).when_engine_decides(WAIT).then(WAITING).and_again_nothing()


def test_a_decision_is_not_undone_by_a_wait_that_was_recorded_already() -> None:
    given(STARTED, claim_step(), WAITING, DECIDED).when_engine_decides(WAIT).then()


def test_a_step_that_was_not_claimed_comes_to_nothing() -> None:
    for command in (COMPLETE, FAIL, RETRY, WAIT):
        given(STARTED).when_engine_decides(command).then()


def test_a_decided_step_completes() -> None:
    given(STARTED, claim_step(), WAITING, DECIDED).when_engine_decides(COMPLETE).then(COMPLETED).and_again_nothing()


def test_a_step_is_skipped_once() -> None:
    given(STARTED).when_engine_decides(SKIP).then(StepSkipped(node="a", reason="no edge")).and_again_nothing()


def test_a_step_that_was_claimed_is_not_skipped() -> None:
    given(STARTED, claim_step()).when_engine_decides(SKIP).then()


def test_a_run_completes_once_and_then_nothing_happens() -> None:
    completed = RunCompleted(output_nodes=("a",), completed_at=NOW)
    end = CompleteRun(output_nodes=("a",))
    given(STARTED, claim_step(), COMPLETED).when_engine_decides(end).then(completed).and_again_nothing()
    for command in (START, FAIL, WAIT, SKIP, end, FailRun(node="a", error=ERROR)):
        given(STARTED, claim_step(), COMPLETED, completed).when_engine_decides(command).then()


def test_a_run_fails_once_and_what_comes_after_it_in_the_turn_is_void() -> None:
    failed = RunFailed(node="a", error=ERROR, failed_at=NOW)
    given(STARTED, claim_step()).when_engine_decides(
        FAIL, FailRun(node="a", error=ERROR), StartStep(node="b", executor="engine-1", epoch=1)
    ).then(FAILED, failed).and_again_nothing()


def test_a_turn_decides_each_command_on_what_the_earlier_ones_came_to() -> None:
    given(STARTED).when_engine_decides(START, COMPLETE, CompleteRun(output_nodes=("a",))).then(
        claim_step(), COMPLETED, RunCompleted(output_nodes=("a",), completed_at=NOW)
    )
