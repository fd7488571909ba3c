"""The commands of the engine about the steps of a run it owns, and their deciders.

They are decided on the state that the engine holds and appended with its version; another owner's append is a conflict.
"""

from datetime import datetime
from typing import Final, assert_never

from msgspec import Struct

from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.facts import (
    AnswerRejected,
    CallRecord,
    ItemResult,
    RunCancelled,
    RunCompleted,
    RunFact,
    RunFailed,
    StepAsked,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepItemsSettled,
    StepResultRefused,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
)
from domain.runs.run import Run
from domain.runs.steps import SETTLED, Step, StepStatus

SYSTEM: Final = "system"
"""The value of `decided_by` for decisions at a deadline."""


class StartStep(Struct, frozen=True, kw_only=True):
    """Claim the next attempt of a step for an engine, in one of its epochs."""

    node: str
    executor: str
    epoch: int


class CompleteStep(Struct, frozen=True, kw_only=True):
    """Record an attempt's output and which edges are taken because of it."""

    node: str
    output: Payload
    edges_taken: tuple[int, ...]
    usage: Usage | None = None
    call: CallRecord | None = None


class FailStep(Struct, frozen=True, kw_only=True):
    """Record that an attempt failed; without `retry_at` for good. `gave` is its output, if only a condition failed."""

    node: str
    error: StepError
    retry_at: datetime | None = None
    edges_taken: tuple[int, ...] = ()
    continued_with: Payload | None = None
    gave: Payload | None = None
    usage: Usage | None = None
    call: CallRecord | None = None


class RejectAnswer(Struct, frozen=True, kw_only=True):
    """Record that an answer of a model was rejected and that its n-th repair (from 1) is asked for."""

    node: str
    attempt: int
    repair: int
    problems: tuple[str, ...]
    usage: Usage
    call: CallRecord | None = None


class RecordAsked(Struct, frozen=True, kw_only=True):
    """Record the request of a call that is in progress."""

    node: str
    attempt: int
    call: CallRecord


class WaitInStep(Struct, frozen=True, kw_only=True):
    """Record that a step waits."""

    waiting: StepWaiting


class SettleItems(Struct, frozen=True, kw_only=True):
    """Record the results of child runs that a step waits for."""

    node: str
    items: tuple[ItemResult, ...]


class DecideAtDeadline(Struct, frozen=True, kw_only=True):
    """Decide a step at its deadline, as its graph says."""

    node: str
    outcome: str
    data: Payload


class SkipStep(Struct, frozen=True, kw_only=True):
    """Record that a step will not run."""

    node: str
    reason: str


class RefuseResult(Struct, frozen=True, kw_only=True):
    """Record a late result of an attempt that was given up; also after the end of the run."""

    node: str
    attempt: int
    reason: str
    usage: Usage | None = None


class CompleteRun(Struct, frozen=True, kw_only=True):
    """Complete a run; its outputs are those of `output_nodes`."""

    output_nodes: tuple[str, ...]


class FailRun(Struct, frozen=True, kw_only=True):
    """Fail a run at a step that failed for good."""

    node: str
    error: StepError


class CancelRun(Struct, frozen=True, kw_only=True):
    """End a run whose cancellation was requested."""


StepCommand = (
    StartStep
    | CompleteStep
    | FailStep
    | RejectAnswer
    | RecordAsked
    | WaitInStep
    | SettleItems
    | DecideAtDeadline
    | SkipStep
    | RefuseResult
    | CompleteRun
    | FailRun
    | CancelRun
)


def decide(command: StepCommand, run: Run, now: datetime) -> tuple[RunFact, ...]:  # noqa: C901  # a case a command
    """Decide one command; a repeated command returns no facts."""
    match command:
        case StartStep():
            return start_step(command, run, now)
        case CompleteStep():
            return (_build_completed(command, run, now),) if _is_open(run, command.node) else ()
        case CompleteRun() | FailRun() | CancelRun():
            return (_build_run_end(command, run, now),)
        case FailStep():
            return (_build_failed(command, run, now),) if _is_open(run, command.node) else ()
        case RejectAnswer():
            return (_build_rejected(command, now),) if _can_reject(command, run) else ()
        case RecordAsked():
            return _record_asked(command, run, now)
        case WaitInStep():
            return (command.waiting,) if _is_running(run, command.waiting.node) else ()
        case SettleItems():
            return settle_items(command, run, now)
        case DecideAtDeadline():
            return _decide_at_deadline(command, run, now)
        case SkipStep():
            return () if command.node in run.steps else (StepSkipped(node=command.node, reason=command.reason),)
        case RefuseResult():
            return (refuse_result(command, now),)
        case _:
            assert_never(command)


def start_step(command: StartStep, run: Run, now: datetime) -> tuple[RunFact, ...]:
    """Decide the claim of an attempt; one that an earlier owner left open is recorded as lost first.

    A step that waits, was decided or has settled is not started again, nor an attempt claimed twice in one epoch.
    """
    step = run.steps.get(command.node)
    if step is not None and not _can_start(step, command.epoch):
        return ()
    attempt = step.attempt if step is not None else 0
    started = StepStarted(
        node=command.node, attempt=attempt + 1, executor=command.executor, epoch=command.epoch, started_at=now
    )
    if step is None or step.status is not StepStatus.RUNNING:
        return (started,)
    lost = StepError(error_class=ErrorClass.OWNER_LOST, message="the engine that had claimed this attempt is gone")
    return (StepFailed(node=command.node, attempt=attempt, error=lost, retry_at=now, failed_at=now), started)


def settle_items(command: SettleItems, run: Run, now: datetime) -> tuple[RunFact, ...]:
    """Decide the new results of children: each is recorded once, and only while the step waits for them."""
    step = run.steps.get(command.node)
    if step is None or step.status is not StepStatus.WAITING:
        return ()
    news = tuple(settled for settled in command.items if settled.item not in step.items)
    if not news:
        return ()
    return (StepItemsSettled(node=command.node, attempt=step.attempt, items=news, settled_at=now),)


def _build_run_end(command: CompleteRun | FailRun | CancelRun, run: Run, now: datetime) -> RunFact:
    match command:
        case CompleteRun():
            return RunCompleted(parent=run.parent, output_nodes=command.output_nodes, completed_at=now)
        case FailRun():
            return RunFailed(parent=run.parent, node=command.node, error=command.error, failed_at=now)
        case CancelRun():
            return RunCancelled(parent=run.parent, cancelled_at=now)
        case _:
            assert_never(command)


def refuse_result(command: RefuseResult, now: datetime) -> StepResultRefused:
    """Decide a late result: its output is refused, its usage is recorded."""
    return StepResultRefused(
        node=command.node, attempt=command.attempt, reason=command.reason, usage=command.usage, refused_at=now
    )


def _build_completed(command: CompleteStep, run: Run, now: datetime) -> StepCompleted:
    return StepCompleted(
        node=command.node,
        attempt=run.steps[command.node].attempt,
        output=command.output,
        edges_taken=command.edges_taken,
        usage=command.usage,
        call=command.call,
        completed_at=now,
    )


def _build_failed(command: FailStep, run: Run, now: datetime) -> StepFailed:
    return StepFailed(
        node=command.node,
        attempt=run.steps[command.node].attempt,
        error=command.error,
        retry_at=command.retry_at,
        edges_taken=command.edges_taken,
        continued_with=command.continued_with,
        gave=command.gave,
        usage=command.usage,
        call=command.call,
        failed_at=now,
    )


def _build_rejected(command: RejectAnswer, now: datetime) -> AnswerRejected:
    return AnswerRejected(
        node=command.node,
        attempt=command.attempt,
        repair=command.repair,
        problems=command.problems,
        usage=command.usage,
        call=command.call,
        rejected_at=now,
    )


def _record_asked(command: RecordAsked, run: Run, now: datetime) -> tuple[StepAsked, ...]:
    """Record it only while its attempt is in progress."""
    step = run.steps.get(command.node)
    if step is None or step.status is not StepStatus.RUNNING or step.attempt != command.attempt:
        return ()
    return (StepAsked(node=command.node, attempt=command.attempt, call=command.call, asked_at=now),)


def _can_reject(command: RejectAnswer, run: Run) -> bool:
    """Return whether the attempt is open and before this repair; a command may be repeated."""
    step = run.steps.get(command.node)
    if step is None or step.status is not StepStatus.RUNNING:
        return False
    return step.attempt == command.attempt and step.repairs < command.repair


def _decide_at_deadline(command: DecideAtDeadline, run: Run, now: datetime) -> tuple[StepDecided, ...]:
    """Decide a step at its deadline unless a person has decided it."""
    step = run.steps.get(command.node)
    if step is None or step.status is not StepStatus.WAITING or step.waiting is None:
        return ()
    return (
        StepDecided(
            node=command.node,
            outcome=command.outcome,
            data=command.data,
            decided_by=SYSTEM,
            shown_hash=step.waiting.shown_hash,
            decided_at=now,
        ),
    )


def _can_start(step: Step, epoch: int) -> bool:
    return step.status is StepStatus.RETRYING or (step.status is StepStatus.RUNNING and step.epoch != epoch)


def _is_running(run: Run, node: str) -> bool:
    step = run.steps.get(node)
    return step is not None and step.status is StepStatus.RUNNING


def _is_open(run: Run, node: str) -> bool:
    """Return whether an attempt was claimed and has no result yet; a command may be repeated."""
    step = run.steps.get(node)
    return step is not None and step.status is not StepStatus.RETRYING and step.status not in SETTLED
