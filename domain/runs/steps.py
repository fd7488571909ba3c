"""The steps of a run: the lifecycle of a step, and its state folded from its facts."""

from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING, Payload
from domain.runs.facts import (
    AnswerRejected,
    ItemOutcome,
    ItemResult,
    RunSignalled,
    StepAsked,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepItemsSettled,
    StepReused,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)


class StepStatus(StrEnum):
    """Lifecycle of a step; a step without facts has no entry."""

    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    DECIDED = "decided"
    GIVEN = "given"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


# Tuples: members are found by identity, where a set would hash them in Python (6 µs a fact against 10).
SETTLED: Final = (StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED)
BUSY: Final = (StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.DECIDED, StepStatus.GIVEN)


# For what nearly every fact is about: Python 3.11 looks a member up by a call, which took 0.2 µs of 1.5 a fact.
RUNNING: Final = StepStatus.RUNNING
COMPLETED: Final = StepStatus.COMPLETED


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The state of one node of a run, folded from its facts; `attempt` counts from 1, and is 0 before any attempt.

    `usage` is of the last call of a model, `earlier` of those before it: attempts that failed, answers rejected.
    `items` are the children that have ended, by their place in the list. `lost` of the attempts were lost with their
    engines, the last `lost_in_a_row` of them with no other failure in between. `gave` is what a step gave that has not
    completed, since an edge out of it could not be decided.
    """

    status: StepStatus
    attempt: int = 0
    epoch: int = 0
    output: Payload = NOTHING
    continued: bool = False
    gave: Payload | None = None
    edges_taken: tuple[int, ...] = ()
    usage: Usage | None = None
    error: StepError | None = None
    retry_at: datetime | None = None
    waiting: StepWaiting | None = None
    decision: StepDecided | None = None
    signal: RunSignalled | None = None
    reason: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    earlier: tuple[Usage, ...] = ()
    first_started_at: datetime | None = None
    repairs: int = 0
    items: dict[int, ItemResult] = {}
    reused_from: UUID | None = None
    lost: int = 0
    lost_in_a_row: int = 0

    @property
    def failures(self) -> int:
        """Return how many attempts have failed, with the current or last one, without those lost with their engine."""
        return self.attempt - self.lost

    @property
    def ends_its_run(self) -> bool:
        """Return whether this step has failed for good without a default output or a fallback."""
        return self.status is StepStatus.FAILED and not self.continued and not self.edges_taken

    def awaits_signal(self, name: str) -> bool:
        """Return whether this step waits for a signal of this name."""
        waiting = self.waiting
        return self.status is StepStatus.WAITING and waiting is not None and waiting.signal == name

    @property
    def waits_for_children(self) -> bool:
        """Return whether child runs of this step are running, or are about to start."""
        waiting = self.waiting
        return self.status is StepStatus.WAITING and waiting is not None and waiting.waiting_for is WaitFor.CHILD


StepFact = (
    StepStarted
    | StepCompleted
    | StepSkipped
    | StepWaiting
    | StepDecided
    | StepFailed
    | StepAsked
    | AnswerRejected
    | StepItemsSettled
    | StepReused
)


def evolve_step(step: Step | None, fact: StepFact) -> Step:  # noqa: C901  # a case a fact
    """Return a step after one more fact about it. Accepts any history; never refuses."""
    match fact:
        case StepStarted():
            return _evolve_started(step, fact)
        case StepCompleted():
            return replace(
                step or Step(status=COMPLETED, attempt=fact.attempt),
                status=COMPLETED,
                output=fact.output,
                gave=None,
                edges_taken=fact.edges_taken,
                usage=fact.usage or _get_kept_usage(step),
                ended_at=fact.completed_at,
            )
        case StepSkipped():
            return Step(status=StepStatus.SKIPPED, reason=fact.reason)
        case StepFailed():
            return _evolve_failed(step, fact)
        case StepWaiting():
            return replace(_get_or_create(step, fact.attempt), status=StepStatus.WAITING, waiting=fact)
        case StepDecided():
            return replace(_get_or_create(step, 1), status=StepStatus.DECIDED, decision=fact)
        case StepAsked():
            return _get_or_create(step, fact.attempt)
        case AnswerRejected():
            known = _get_or_create(step, fact.attempt)
            return replace(known, repairs=fact.repair, earlier=_append_usage(known.earlier, fact.usage))
        case StepItemsSettled():
            known = _get_or_create(step, fact.attempt)
            return replace(known, items={**known.items, **{settled.item: settled for settled in fact.items}})
        case StepReused():
            return _create_reused(fact)
        case _:
            assert_never(fact)


def _get_or_create(step: Step | None, attempt: int) -> Step:
    return step or Step(status=StepStatus.RUNNING, attempt=attempt)


def _evolve_started(step: Step | None, fact: StepStarted) -> Step:
    if step is None:
        return Step(status=RUNNING, attempt=fact.attempt, epoch=fact.epoch, started_at=fact.started_at)
    return Step(
        status=StepStatus.RUNNING,
        attempt=fact.attempt,
        epoch=fact.epoch,
        started_at=fact.started_at,
        earlier=_append_usage(step.earlier, step.usage),
        first_started_at=step.first_started_at or step.started_at,
        lost=step.lost,
        lost_in_a_row=step.lost_in_a_row,
    )


def _evolve_failed(step: Step | None, fact: StepFailed) -> Step:
    known = step or Step(status=StepStatus.FAILED, attempt=fact.attempt)
    was_lost = fact.error.error_class is ErrorClass.OWNER_LOST
    return replace(
        known,
        status=StepStatus.RETRYING if fact.retry_at else StepStatus.FAILED,
        error=fact.error,
        retry_at=fact.retry_at,
        edges_taken=fact.edges_taken,
        output=fact.continued_with or NOTHING,
        continued=fact.continued_with is not None,
        gave=fact.gave,
        usage=fact.usage or _get_kept_usage(step),
        ended_at=fact.failed_at,
        lost=known.lost + was_lost,
        lost_in_a_row=known.lost_in_a_row + 1 if was_lost else 0,
    )


def reopen_with_output(step: Step, at: datetime) -> Step:
    """Return a step whose output a retry keeps: only the conditions of its edges are evaluated again."""
    return replace(
        step, status=StepStatus.GIVEN, edges_taken=(), error=None, retry_at=None, started_at=at, ended_at=None
    )


def _get_kept_usage(step: Step | None) -> Usage | None:
    """Return the usage of a step whose output is kept: the facts that settle it do not contain it again."""
    return step.usage if step is not None and step.status is StepStatus.GIVEN else None


def _create_reused(fact: StepReused) -> Step:
    return Step(
        status=StepStatus.COMPLETED,
        output=fact.output,
        edges_taken=fact.edges_taken,
        reused_from=fact.from_run,
        started_at=fact.reused_at,
        ended_at=fact.reused_at,
    )


def _append_usage(earlier: tuple[Usage, ...], usage: Usage | None) -> tuple[Usage, ...]:
    return earlier if usage is None else (*earlier, usage)


def count_stored_bytes(step: Step | None) -> int:
    """Return the bytes that a step has in the content store: of its output, or of its children's inputs."""
    if step is None:
        return 0
    if step.status is StepStatus.WAITING and step.waiting is not None:
        return step.waiting.items.bytes or 0
    held = step.output if step.gave is None else step.gave
    return held.bytes or 0


def list_usages(step: Step) -> tuple[Usage, ...]:
    """Return the usage of every model call of this step."""
    return _append_usage(step.earlier, step.usage)


class KeptItems(Struct, frozen=True, kw_only=True, gc=False):
    """The results of a step's completed children, by item index, kept so that a restarted step does not repeat them.

    `items` and `children` are the inputs and the number of children that the step waited for.
    """

    items: Payload
    children: int
    results: dict[int, ItemResult]


def find_finished_items(step: Step | None, before: KeptItems | None) -> KeptItems | None:
    """Return the results of a step's completed children, None if there are none.

    `before` is what an earlier attempt of the step kept; it is returned until the step waits for children again.
    """
    waiting = step.waiting if step is not None else None
    if step is None or waiting is None or waiting.waiting_for is not WaitFor.CHILD:
        return before
    results = {item: result for item, result in step.items.items() if result.outcome is ItemOutcome.COMPLETED}
    return KeptItems(items=waiting.items, children=waiting.children, results=results) if results else None
