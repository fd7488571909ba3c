"""The facts of a run: its start, the results of its steps, decisions of people, and its end."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from domain.fact import Fact, PersonalText
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING, Payload


class Pins(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """All dependencies of a run as they were at its start, so that an old run always folds to the same state."""

    assets: dict[UUID, int] = {}
    workflows: dict[UUID, int] = {}
    flags: dict[str, object] = {}
    prices: dict[str, object] = {}


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Usage of one model call, and how its answer ended.

    `cost_usd` is a decimal string, None if the price is not known. `finish_reason` is the server's own word, None if it
    sent none; `truncated`: a limit cut the answer; `finish_unknown`: it is not known whether the answer is whole.
    `reasoning_tokens` are those of the output tokens that the server counts as reasoning, `reasoning_characters` the
    length of the reasoning that it sent; `request_id` is the server's name for the call.
    """

    model: str
    input_tokens: int
    output_tokens: int
    latency_ms: float
    first_token_ms: float | None = None
    cost_usd: str | None = None
    finish_reason: str | None = None
    truncated: bool = False
    finish_unknown: bool = False
    reasoning_tokens: int = 0
    reasoning_characters: int = 0
    request_id: str | None = None


class CallRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One call of a step to a model or to an outside address: its place in the attempt, what was asked and answered.

    `asked` is absent if `step.asked` has it, or the project records no calls; `answered` if it is the step's output.
    """

    number: int = 1
    asked: Payload = NOTHING
    answered: Payload = NOTHING


class UsageTotals(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The usage of several calls together. `cost_usd` is a decimal string, None if no call had a price."""

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None


def add_totals(first: UsageTotals, second: UsageTotals) -> UsageTotals:
    """Return the sum of two totals; costs are added as exact decimals."""
    costs = [Decimal(totals.cost_usd) for totals in (first, second) if totals.cost_usd is not None]
    return UsageTotals(
        model_calls=first.model_calls + second.model_calls,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cost_usd=str(sum(costs)) if costs else None,
    )


def subtract_totals(first: UsageTotals, second: UsageTotals) -> UsageTotals:
    """Return what the first total has beyond the second, which it includes."""
    costs = [None if totals.cost_usd is None else Decimal(totals.cost_usd) for totals in (first, second)]
    return UsageTotals(
        model_calls=first.model_calls - second.model_calls,
        input_tokens=first.input_tokens - second.input_tokens,
        output_tokens=first.output_tokens - second.output_tokens,
        cost_usd=None if costs[0] is None else str(costs[0] - (costs[1] or 0)),
    )


class StepError(Struct, frozen=True, kw_only=True, gc=False):
    """Failure of an attempt: a class for retry policies and a message for people, without secrets."""

    error_class: ErrorClass
    message: str


class Parent(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The step that started a run as its child; `item` is the index in the list of a `map` (from 0)."""

    run_id: UUID
    node: str
    item: int | None = None


class ForkedFrom(Struct, frozen=True, kw_only=True, gc=False):
    """The original run of a fork, and the node at which the fork begins."""

    run_id: UUID
    node: str


class RunStarted(Fact, frozen=True, kw_only=True, tag="run.started"):
    """A run of one version of a workflow was started; it is queued until an engine claims it.

    A descendant of another run says at which `depth` it is below the `root_run_id` that a caller started.
    """

    workflow_id: UUID
    workflow_version: int
    inputs: Payload
    pins: Pins
    parent: Parent | None = None
    forked_from: ForkedFrom | None = None
    name: str = ""
    labels: dict[str, str] = {}
    root_run_id: UUID | None = None
    depth: int = 0
    started_at: datetime


class StepStarted(Fact, frozen=True, kw_only=True, tag="step.started"):
    """An engine claimed an attempt (from 1) of a step; only the engine that appends this fact may execute it."""

    node: str
    attempt: int
    executor: str
    epoch: int
    started_at: datetime


class StepAsked(Fact, frozen=True, kw_only=True, tag="step.asked"):
    """A call of an attempt is still in progress after `asked_delay_seconds`: its request, before the response.

    Calls that end sooner are recorded with the fact of their result.
    """

    node: str
    attempt: int
    call: CallRecord
    asked_at: datetime


class StepCompleted(Fact, frozen=True, kw_only=True, tag="step.completed"):
    """An attempt completed with its output. `edges_taken` are the indexes of the taken edges in the graph."""

    node: str
    attempt: int
    output: Payload
    edges_taken: tuple[int, ...] = ()
    usage: Usage | None = None
    call: CallRecord | None = None
    completed_at: datetime


class StepFailed(Fact, frozen=True, kw_only=True, tag="step.failed"):
    """An attempt failed; another follows at `retry_at`, or none does.

    After a step that failed for good the run may still continue: over the edges taken, as if the output were
    `continued_with`. If only the condition of an outgoing edge failed, `gave` is the step's output: a retry keeps it.
    """

    node: str
    attempt: int
    error: StepError
    retry_at: datetime | None = None
    edges_taken: tuple[int, ...] = ()
    continued_with: Payload | None = None
    gave: Payload | None = None
    usage: Usage | None = None
    call: CallRecord | None = None
    failed_at: datetime


class WaitFor(StrEnum):
    """Kinds of waits of a step."""

    HUMAN = "human"
    TIMER = "timer"
    CHILD = "child"
    SIGNAL = "signal"


class StepWaiting(Fact, frozen=True, kw_only=True, tag="step.waiting"):
    """A step waits. For a person: who may decide, what is asked, and the keyed hash of what is shown.

    For children it says how many there are, and `items` holds what each is started with, in order. When it `resumes`,
    those that completed for an earlier wait of the step for the same items count, and have no new runs. For a signal,
    `signal` is its name and `form` the schema of its data.
    """

    node: str
    attempt: int
    waiting_for: WaitFor
    items: Payload = NOTHING
    children: int = 0
    resumes: bool = False
    until: datetime | None = None
    assignees: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    form: dict[str, object] | None = None
    outcomes: tuple[str, ...] = ()
    shown: Payload = NOTHING
    shown_hash: str | None = None
    signal: str | None = None
    waiting_since: datetime


class StepDecided(Fact, frozen=True, kw_only=True, tag="step.decided"):
    """A person decided a waiting step; `shown_hash` is the keyed hash of the values they were shown."""

    node: str
    outcome: str
    data: Payload
    comment: PersonalText | None = None
    decided_by: str
    shown_hash: str | None
    decided_at: datetime


class RunSignalled(Fact, frozen=True, kw_only=True, tag="run.signalled"):
    """A signal came from outside: for the steps that wait for its name, or else for the next that will."""

    name: str
    data: Payload
    signalled_by: str
    signalled_at: datetime


class AnswerRejected(Fact, frozen=True, kw_only=True, tag="step.answer-rejected"):
    """A model's answer did not meet the step's schema, and the model is asked for its n-th repair (from 1).

    The answer itself is in `call`, unless the project records no calls; its tokens and cost count.
    """

    node: str
    attempt: int
    repair: int
    problems: tuple[str, ...]
    usage: Usage | None = None
    call: CallRecord | None = None
    rejected_at: datetime


class ItemOutcome(StrEnum):
    """Outcome of a child run."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ItemResult(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Result of one child run of a step: its outputs by node or its error, and its usage, if any."""

    item: int
    run_id: UUID
    outcome: ItemOutcome
    output: Payload = NOTHING
    error: StepError | None = None
    took: UsageTotals | None = None


class StepItemsSettled(Fact, frozen=True, kw_only=True, tag="step.items-settled"):
    """Child runs that a step waits for have ended; each is reported once."""

    node: str
    attempt: int
    items: tuple[ItemResult, ...]
    settled_at: datetime


class StepItemCounted(Fact, frozen=True, kw_only=True, tag="step.item-counted"):
    """Usage of a child that the step's items do not include: it ended after the step or its run, or a child of it did.

    `took` is what had not been counted in this run before.
    """

    node: str
    item: int
    run_id: UUID
    took: UsageTotals
    counted_at: datetime


class StepReused(Fact, frozen=True, kw_only=True, tag="step.reused"):
    """A fork reused the output of a step of the original run: nothing was executed or paid for again."""

    node: str
    from_run: UUID
    output: Payload
    edges_taken: tuple[int, ...] = ()
    reused_at: datetime


class StepResultRefused(Fact, frozen=True, kw_only=True, tag="step.result-refused"):
    """A result arrived after its attempt was given up: its output is discarded, its tokens and cost still count."""

    node: str
    attempt: int
    reason: str
    usage: Usage | None = None
    refused_at: datetime


class StepSkipped(Fact, frozen=True, kw_only=True, tag="step.skipped"):
    """A step will not run, because none of its incoming edges was taken."""

    node: str
    reason: str


class RunCompleted(Fact, frozen=True, kw_only=True, tag="run.completed"):
    """A run completed. Its outputs are those of `output_nodes`: the terminal nodes that completed."""

    parent: Parent | None = None
    output_nodes: tuple[str, ...]
    completed_at: datetime


class RunFailed(Fact, frozen=True, kw_only=True, tag="run.failed"):
    """A run failed, because a step failed for good."""

    parent: Parent | None = None
    node: str
    error: StepError
    failed_at: datetime


class RunCancelRequested(Fact, frozen=True, kw_only=True, tag="run.cancel-requested"):
    """Cancellation of the run is requested: the engine that drives it aborts its open calls."""

    requested_by: str
    reason: PersonalText | None = None
    requested_at: datetime


class RunCancelled(Fact, frozen=True, kw_only=True, tag="run.cancelled"):
    """A run was cancelled on request; steps that had not settled by then never will."""

    parent: Parent | None = None
    cancelled_at: datetime


class RunRetried(Fact, frozen=True, kw_only=True, tag="run.retried"):
    """A run that had failed or was cancelled was retried as its next numbered attempt.

    It keeps what the steps named in `kept` gave, with the edges taken out of each by their places in the graph of
    `workflow_version`; every other step begins anew, those in `items_kept` with the children that had completed for
    them. Of those in `outputs_kept` nothing is done again: they had given their outputs when they failed, and only the
    edges out of them are to be decided. `pins` are None where the version, and all it needs, is the same.
    """

    run_attempt: int
    workflow_version: int
    kept: dict[str, tuple[int, ...]]
    items_kept: tuple[str, ...] = ()
    outputs_kept: tuple[str, ...] = ()
    pins: Pins | None = None
    retried_by: str
    retried_at: datetime


RUN_ENDS: Final = (RunCompleted, RunFailed, RunCancelled)
"""The facts that end a run; a retry may begin another attempt after them."""

RunFact = (
    StepStarted
    | StepCompleted
    | RunStarted
    | RunCompleted
    | StepSkipped
    | StepWaiting
    | StepDecided
    | StepFailed
    | StepAsked
    | AnswerRejected
    | StepItemsSettled
    | StepItemCounted
    | RunSignalled
    | StepReused
    | StepResultRefused
    | RunFailed
    | RunCancelRequested
    | RunCancelled
    | RunRetried
)
