"""Results of the steps of a simulated run: those that executors would return, by the behaviours of the graph case."""

from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from commands.runs.start import DecideStep
from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.graphs.graph import DelayNode, ErrorClass, HumanNode, MapNode, WorkflowNode
from domain.payload import Payload
from domain.runs.facts import RunFact, RunRetried, StepError, StepFailed, StepWaiting, Usage, WaitFor
from domain.runs.steps import Step, StepStatus
from engine.steps.attempts import compute_total_deadline
from engine.steps.contract import Failed, Result, StepCall, Succeeded, Waiting, build_failure
from engine.steps.delay import build_delay_output, build_timer_wait, compute_wait_end
from engine.steps.human import build_human_wait
from tests.support.engine.simulator.random_graphs import Behaviour

T = TypeVar("T")
CALL = Usage(model="played", input_tokens=1, output_tokens=0, latency_ms=0.0)


class NoContents:
    """A content store without contents: all simulated values fit in facts."""

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        raise AssertionError(
            f"{media_type} of {len(content)} bytes in {workspace_id}, keyed by {digest_key!r}: all played fits in facts"
        )

    async def get(self, workspace_id: UUID, reference: str) -> tuple[bytes, str]:
        raise AssertionError(f"{reference} in {workspace_id}: all that is played stands in the facts")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def compute_duration(call: StepCall, behaviour: Behaviour) -> float:
    """Return the duration of an attempt: at most the rest of the step's total timeout."""
    if isinstance(call.node, HumanNode | DelayNode | MapNode | WorkflowNode):
        return 0.0
    left = _left_seconds(call)
    return behaviour.takes if left is None else min(behaviour.takes, left)


def compute_result(call: StepCall, behaviour: Behaviour, failures: int) -> Result:
    """Return the result of an attempt after a number of failures."""
    started_at = call.run.steps[call.node.id].started_at
    assert started_at is not None
    match call.node:
        case HumanNode(config=config):
            return Waiting(build_human_wait(call, config, Payload(), "a keyed hash", started_at))
        case DelayNode(config=config):
            try:
                until = compute_wait_end(config, call.data.to_expression_data(), started_at, Budget())
            except ExpressionFault as fault:
                return build_failure(ErrorClass.EXPRESSION, str(fault))
            return (
                Waiting(build_timer_wait(call, until, started_at))
                if until > started_at
                else _succeed(build_delay_output(until))
            )
        case MapNode() | WorkflowNode():
            return _wait_for_children(call, behaviour) if behaviour.items else _succeed([])
        case _:
            return _compute_work_result(call, behaviour, failures)


def _compute_work_result(call: StepCall, behaviour: Behaviour, failures: int) -> Result:
    left = _left_seconds(call)
    if left is not None and behaviour.takes > left:
        return Failed(StepError(error_class=ErrorClass.TIMEOUT, message="cut off"), CALL)
    if behaviour.fails is None or failures < behaviour.fails:
        error = StepError(error_class=behaviour.error_class, message="as planned")
        return Failed(error, CALL, float(behaviour.asks_to_wait) or None)
    return Succeeded(behaviour.output, Payload(value=behaviour.output), CALL)


def _left_seconds(call: StepCall) -> float | None:
    """Return the seconds that were left of the total timeout when an attempt began."""
    step = call.run.steps[call.node.id]
    ends_at = compute_total_deadline(call.node, step)
    if ends_at is None or step.started_at is None:
        return None
    return (ends_at - step.started_at).total_seconds()


def count_failures(facts: Iterable[RunFact], node: str) -> int:
    """Return how often a step has failed in the last attempt of its run, without attempts lost with their engine."""
    failures = 0
    for fact in facts:
        if isinstance(fact, RunRetried):
            failures = 0
        elif isinstance(fact, StepFailed) and fact.node == node:
            failures += fact.error.error_class is not ErrorClass.OWNER_LOST
    return failures


def compute_decision_time(step: Step, behaviour: Behaviour) -> datetime | None:
    """Return when a person decides a step; None if it does not wait for one, or if nobody decides in time."""
    waiting = step.waiting
    if step.status is not StepStatus.WAITING or waiting is None or waiting.waiting_for is not WaitFor.HUMAN:
        return None
    at = waiting.waiting_since + timedelta(seconds=behaviour.takes)
    never = behaviour.output is None or (waiting.until is not None and at >= waiting.until)
    return None if never else at


def build_decision(run_id: UUID, node: str, behaviour: Behaviour) -> DecideStep:
    """Return the decision that the graph case has for a step."""
    return DecideStep(
        target_id=run_id,
        node=node,
        outcome=str(behaviour.output),
        data={},
        data_payload=Payload(value={}),
        comment=None,
        user_id="rita",
    )


def _wait_for_children(call: StepCall, behaviour: Behaviour) -> Waiting:
    """Return the wait for all items, or again for those that were recorded, of which some are done."""
    since = call.run.steps[call.node.id].started_at
    assert since is not None
    kept = call.run.kept_items.get(call.node.id)
    bound = call.node.timeout_seconds
    return Waiting(
        StepWaiting(
            node=call.node.id,
            attempt=call.attempt,
            waiting_for=WaitFor.CHILD,
            items=Payload(value=[item.inputs for item in behaviour.items]) if kept is None else kept.items,
            children=len(behaviour.items) if kept is None else kept.children,
            resumes=kept is not None,
            until=None if bound is None else since + timedelta(seconds=bound),
            waiting_since=since,
        )
    )


def _succeed(output: object) -> Succeeded:
    return Succeeded(output, Payload(value=output))
