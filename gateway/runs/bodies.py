"""Response bodies of runs: the folded run, its steps and its usage."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from domain.folded import Folded
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import ForkedFrom, Parent, RunSignalled, StepDecided, StepError, StepWaiting, Usage, WaitFor
from domain.runs.run import EarlierAttempt, Run, RunStatus, compute_usage_totals
from domain.runs.steps import Step, StepStatus
from gateway.http.ids import format_id
from gateway.http.payloads import NO_CONTENTS, Contents, show_payload

MILLISECOND: Final = timedelta(milliseconds=1)


class WaitingBody(Struct, frozen=True, kw_only=True):
    """The wait of a step; if it waits for a person, also what is asked and shown."""

    waiting_for: WaitFor
    until: datetime | None
    assignees: tuple[str, ...]
    roles: tuple[str, ...]
    form: dict[str, object] | None
    outcomes: tuple[str, ...]
    shown: Any
    signal: str | None
    waiting_since: datetime


class SignalBody(Struct, frozen=True, kw_only=True):
    """A signal that a step has got."""

    name: str
    data: Any
    signalled_by: str
    signalled_at: datetime


class DecisionBody(Struct, frozen=True, kw_only=True):
    """A person's decision."""

    outcome: str
    data: Any
    comment: str | None
    decided_by: str
    decided_at: datetime


class StepBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The step of one node. Fields that do not apply are absent.

    `output` is the value that expressions see; for a failed step it is the value with which `on_error` continues.
    `gave` is the result of a step that failed because the condition of an outgoing edge failed; a retry reuses it.
    `truncated`: a limit cut the answer of the model.
    """

    status: StepStatus
    attempt: int
    output: Any = UNSET
    gave: Any = UNSET
    usage: Usage | None = None
    truncated: bool = False
    error: StepError | None = None
    retry_at: datetime | None = None
    waiting: WaitingBody | None = None
    decision: DecisionBody | None = None
    signal: SignalBody | None = None
    reason: str | None = None
    reused_from: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ParentBody(Struct, frozen=True, kw_only=True):
    """The step that started a run as its child; `item` is the index in the list of a `map`."""

    run_id: str
    node: str
    item: int | None


class ForkedFromBody(Struct, frozen=True, kw_only=True):
    """The run that this one was forked from, and the node at which it started."""

    run_id: str
    node: str


class RunMetrics(Struct, frozen=True, kw_only=True):
    """Usage of a run and of its child runs so far. `cost_usd` is a decimal string, null if unknown."""

    duration_ms: float | None
    steps_settled: int
    model_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class RunErrorBody(Struct, frozen=True, kw_only=True):
    """Failure of a run, and the node that failed."""

    node: str | None
    error_class: str
    message: str


class EarlierAttemptBody(Struct, frozen=True, kw_only=True):
    """End of an attempt that was retried. `error` is null if the attempt was cancelled."""

    attempt: int
    status: RunStatus
    error: RunErrorBody | None
    ended_at: datetime | None


class RunBase(Struct, frozen=True, kw_only=True):
    """A run without its steps."""

    id: str
    project_id: str
    workflow_id: str
    workflow_version: int
    status: RunStatus
    attempt: int
    parent: ParentBody | None
    forked_from: ForkedFromBody | None
    name: str
    labels: dict[str, str]
    inputs: Any
    outputs: dict[str, Any] | None
    metrics: RunMetrics
    error: RunErrorBody | None
    earlier_attempts: tuple[EarlierAttemptBody, ...]
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class RunBody(RunBase, frozen=True, kw_only=True):
    """A run. `steps` are by node, in the order in which they started."""

    steps: dict[str, StepBody]


class RunItem(RunBase, frozen=True, kw_only=True):
    """A run in a list: of its steps only how many have which status, and of large values references."""

    step_counts: dict[StepStatus, int]


def list_payloads(run: Run) -> Iterator[Payload]:
    """Yield everything in a run that may be a reference."""
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
        if step.signal is not None:
            yield step.signal.data


def create_output_url(shown_id: str, node: str) -> str:
    """Return where the output of a step can be read by itself."""
    return f"/v1/runs/{shown_id}/outputs/{node}"


def create_run_body(folded: Folded[Run], contents: Contents = NO_CONTENTS) -> RunBody:
    """Return a run as it is sent."""
    shown_id = from_uuid("run", folded.stream_id)
    steps = {
        node: _create_step_body(step, contents, create_output_url(shown_id, node))
        for node, step in folded.state.steps.items()
    }
    return RunBody(**_create_fields(folded, contents), steps=steps)


def create_run_item(folded: Folded[Run]) -> RunItem:
    """Return a run as it is in a list."""
    counts = Counter(step.status for step in folded.state.steps.values())
    return RunItem(**_create_fields(folded, NO_CONTENTS), step_counts=dict(counts))


def _create_fields(folded: Folded[Run], contents: Contents) -> dict[str, Any]:
    """Return the fields of `RunBase`."""
    run, run_id = folded.state, folded.stream_id
    shown_id = from_uuid("run", run_id)
    outputs = {
        node: show_payload(output, contents, create_output_url(shown_id, node)) for node, output in run.outputs.items()
    }
    return {
        "id": shown_id,
        "project_id": format_id("prj", folded.project_id or run_id),
        "workflow_id": format_id("wf", run.workflow_id),
        "workflow_version": run.workflow_version,
        "status": run.status,
        "attempt": run.attempt,
        "parent": create_parent_body(run.parent) if run.parent is not None else None,
        "forked_from": create_origin_body(run.forked_from) if run.forked_from is not None else None,
        "name": run.name,
        "labels": run.labels,
        "inputs": show_payload(run.inputs, contents),
        "outputs": outputs if run.status is RunStatus.COMPLETED else None,
        "metrics": _create_metrics(run),
        "error": _create_error_body(run.failed_node, run.error),
        "earlier_attempts": tuple(map(_create_attempt_body, run.earlier_attempts)),
        "created_at": folded.created_at,
        "updated_at": folded.updated_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }


def create_parent_body(parent: Parent) -> ParentBody:
    """Return the step that started a child run."""
    return ParentBody(run_id=from_uuid("run", parent.run_id), node=parent.node, item=parent.item)


def create_origin_body(forked: ForkedFrom) -> ForkedFromBody:
    """Return the origin of a fork."""
    return ForkedFromBody(run_id=from_uuid("run", forked.run_id), node=forked.node)


def _create_step_body(step: Step, contents: Contents, link: str) -> StepBody:
    shows_output = step.status is StepStatus.COMPLETED or step.continued
    output: Any | UnsetType = show_payload(step.output, contents, link) if shows_output else UNSET
    return StepBody(
        status=step.status,
        attempt=step.attempt,
        output=output,
        gave=UNSET if step.gave is None else show_payload(step.gave, contents),
        usage=step.usage,
        truncated=step.usage is not None and step.usage.truncated,
        error=step.error,
        retry_at=step.retry_at,
        waiting=_create_waiting_body(step.waiting, contents) if step.waiting is not None else None,
        decision=_create_decision_body(step.decision, contents) if step.decision is not None else None,
        signal=_create_signal_body(step.signal, contents) if step.signal is not None else None,
        reason=step.reason,
        reused_from=from_uuid("run", step.reused_from) if step.reused_from is not None else None,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )


def _create_waiting_body(waiting: StepWaiting, contents: Contents) -> WaitingBody:
    return WaitingBody(
        waiting_for=waiting.waiting_for,
        until=waiting.until,
        assignees=waiting.assignees,
        roles=waiting.roles,
        form=waiting.form,
        outcomes=waiting.outcomes,
        shown=show_payload(waiting.shown, contents),
        signal=waiting.signal,
        waiting_since=waiting.waiting_since,
    )


def _create_decision_body(decision: StepDecided, contents: Contents) -> DecisionBody:
    return DecisionBody(
        outcome=decision.outcome,
        data=show_payload(decision.data, contents),
        comment=decision.comment,
        decided_by=decision.decided_by,
        decided_at=decision.decided_at,
    )


def _create_signal_body(signal: RunSignalled, contents: Contents) -> SignalBody:
    return SignalBody(
        name=signal.name,
        data=show_payload(signal.data, contents),
        signalled_by=signal.signalled_by,
        signalled_at=signal.signalled_at,
    )


def _create_attempt_body(earlier: EarlierAttempt) -> EarlierAttemptBody:
    return EarlierAttemptBody(
        attempt=earlier.attempt,
        status=earlier.status,
        error=_create_error_body(earlier.node, earlier.error),
        ended_at=earlier.ended_at,
    )


def _create_error_body(node: str | None, error: StepError | None) -> RunErrorBody | None:
    return (
        None if error is None else RunErrorBody(node=node, error_class=error.error_class.value, message=error.message)
    )


def _create_metrics(run: Run) -> RunMetrics:
    took = compute_usage_totals(run)
    started, ended = run.started_at, run.ended_at
    return RunMetrics(
        duration_ms=(ended - started) / MILLISECOND if started is not None and ended is not None else None,
        steps_settled=run.settled,
        model_calls=took.model_calls,
        input_tokens=took.input_tokens,
        output_tokens=took.output_tokens,
        cost_usd=took.cost_usd,
    )
