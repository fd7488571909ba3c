"""Runs as they are sent: the folded run, its steps, and what it took."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from domain.folded import Folded
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import ForkedFrom, Parent, StepDecided, StepError, StepWaiting, Usage, WaitFor
from domain.runs.run import Run, RunStatus
from domain.runs.run_usage import took_by
from domain.runs.steps import Step, StepStatus
from gateway.http.ids import shown_id
from gateway.http.payloads import NOTHING_RESOLVED, Resolved, value_of

MILLISECOND: Final = timedelta(milliseconds=1)


class WaitingBody(Struct, frozen=True, kw_only=True):
    """What a step waits for, and for a person what is asked and shown."""

    waiting_for: WaitFor
    until: datetime | None
    assignees: tuple[str, ...]
    roles: tuple[str, ...]
    form: dict[str, object] | None
    outcomes: tuple[str, ...]
    shown: Any
    waiting_since: datetime


class DecisionBody(Struct, frozen=True, kw_only=True):
    """What a person decided."""

    outcome: str
    data: Any
    comment: str | None
    decided_by: str
    decided_at: datetime


class StepBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node's step; what does not apply to it is absent.

    `output` is what expressions see of it: of a step that failed, what its `on_error` goes on with.
    `gave` is what it gave though it has not completed, since an edge out of it could not be decided: a retry keeps it.
    """

    status: StepStatus
    attempt: int
    output: Any = UNSET
    gave: Any = UNSET
    usage: Usage | None = None
    error: StepError | None = None
    retry_at: datetime | None = None
    waiting: WaitingBody | None = None
    decision: DecisionBody | None = None
    reason: str | None = None
    reused_from: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ParentBody(Struct, frozen=True, kw_only=True):
    """The step that began a run as its child; `item` is the place in the list of a `map`."""

    run_id: str
    node: str
    item: int | None


class ForkedFromBody(Struct, frozen=True, kw_only=True):
    """The run that another was forked from, and the node that it began at."""

    run_id: str
    node: str


class RunMetrics(Struct, frozen=True, kw_only=True):
    """What a run took so far, with the runs that its steps waited for; money as a decimal string, null if unknown."""

    duration_ms: float | None
    steps_settled: int
    model_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class RunErrorBody(Struct, frozen=True, kw_only=True):
    """Why a run failed, and at which node."""

    node: str | None
    error_class: str
    message: str


class RunBody(Struct, frozen=True, kw_only=True):
    """A run as it is sent. `steps` are by node, in order of beginning; in lists large values are references."""

    id: str
    project_id: str
    workflow_id: str
    workflow_version: int
    status: RunStatus
    attempt: int
    parent: ParentBody | None
    forked_from: ForkedFromBody | None
    inputs: Any
    outputs: dict[str, Any] | None
    steps: dict[str, StepBody]
    metrics: RunMetrics
    error: RunErrorBody | None
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


def payloads_of(run: Run) -> Iterator[Payload]:
    """Give everything in a run that may be a reference."""
    yield run.inputs
    yield from run.outputs.values()
    for step in run.steps.values():
        yield step.output
        if step.gave is not None:
            yield step.gave
        if step.waiting is not None:
            yield step.waiting.shown
        if step.decision is not None:
            yield step.decision.data


def run_body(folded: Folded[Run], known: Resolved = NOTHING_RESOLVED) -> RunBody:
    """Return a run as JSON shows it."""
    run, run_id = folded.state, folded.stream_id
    ended = run.status is RunStatus.COMPLETED
    return RunBody(
        id=from_uuid("run", run_id),
        project_id=shown_id("prj", folded.project_id or run_id),
        workflow_id=shown_id("wf", run.workflow_id),
        workflow_version=run.workflow_version,
        status=run.status,
        attempt=run.attempt,
        parent=parent_body(run.parent) if run.parent is not None else None,
        forked_from=forked_from_body(run.forked_from) if run.forked_from is not None else None,
        inputs=value_of(run.inputs, known),
        outputs={node: value_of(output, known) for node, output in run.outputs.items()} if ended else None,
        steps={node: _step(step, known) for node, step in run.steps.items()},
        metrics=_metrics(run),
        error=_error(run),
        created_at=folded.created_at,
        updated_at=folded.updated_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def parent_body(parent: Parent) -> ParentBody:
    """Write where a child run belongs."""
    return ParentBody(run_id=from_uuid("run", parent.run_id), node=parent.node, item=parent.item)


def forked_from_body(forked: ForkedFrom) -> ForkedFromBody:
    """Write where a fork comes from."""
    return ForkedFromBody(run_id=from_uuid("run", forked.run_id), node=forked.node)


def _step(step: Step, known: Resolved) -> StepBody:
    leads_on = step.status is StepStatus.COMPLETED or step.continued
    output: Any | UnsetType = value_of(step.output, known) if leads_on else UNSET
    return StepBody(
        status=step.status,
        attempt=step.attempt,
        output=output,
        gave=UNSET if step.gave is None else value_of(step.gave, known),
        usage=step.usage,
        error=step.error,
        retry_at=step.retry_at,
        waiting=_waiting(step.waiting, known) if step.waiting is not None else None,
        decision=_decision(step.decision, known) if step.decision is not None else None,
        reason=step.reason,
        reused_from=from_uuid("run", step.reused_from) if step.reused_from is not None else None,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )


def _waiting(waiting: StepWaiting, known: Resolved) -> WaitingBody:
    return WaitingBody(
        waiting_for=waiting.waiting_for,
        until=waiting.until,
        assignees=waiting.assignees,
        roles=waiting.roles,
        form=waiting.form,
        outcomes=waiting.outcomes,
        shown=value_of(waiting.shown, known),
        waiting_since=waiting.waiting_since,
    )


def _decision(decision: StepDecided, known: Resolved) -> DecisionBody:
    return DecisionBody(
        outcome=decision.outcome,
        data=value_of(decision.data, known),
        comment=decision.comment,
        decided_by=decision.decided_by,
        decided_at=decision.decided_at,
    )


def _error(run: Run) -> RunErrorBody | None:
    if run.error is None:
        return None
    return RunErrorBody(node=run.failed_node, error_class=run.error.error_class.value, message=run.error.message)


def _metrics(run: Run) -> RunMetrics:
    took = took_by(run)
    began, ended = run.started_at, run.ended_at
    return RunMetrics(
        duration_ms=(ended - began) / MILLISECOND if began is not None and ended is not None else None,
        steps_settled=run.settled,
        model_calls=took.model_calls,
        input_tokens=took.input_tokens,
        output_tokens=took.output_tokens,
        cost_usd=took.cost_usd,
    )
