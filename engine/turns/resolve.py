"""Resolve the values that a run's facts refer to, and the results that follow from recorded facts."""

from collections.abc import Collection
from datetime import datetime

from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.graphs.configs import ContinueAtDeadline, DecideAtDeadline, WaitConfig
from domain.graphs.graph import ErrorClass, HumanNode, WaitNode
from domain.runs.facts import StepWaiting, WaitFor
from domain.runs.run import Run
from domain.runs.steps import SETTLED, StepStatus
from engine.steps.contract import DecidedAtDeadline, Result, RetryDue, Succeeded, build_failure
from engine.steps.delay import build_delay_output
from engine.steps.run_data import RunData, describe_run
from engine.steps.signal import build_signal_output
from engine.turns.schedule import list_overdue_steps
from store.contents import ContentStore, keep, resolve


async def resolve_run_data(contents: ContentStore, held: Folded[Run], public_url: str = "") -> RunData:
    """Return the data of a run as its expressions see it. Raises Unavailable."""
    run = held.state
    inputs = await resolve(contents, held.workspace_id, run.inputs)
    data = RunData(inputs, describe_run(held.stream_id, run, public_url))
    for node, step in run.steps.items():
        has_default = step.status is StepStatus.FAILED and step.continued
        if step.status is StepStatus.COMPLETED or has_default:
            data.record_output(node, await resolve(contents, held.workspace_id, step.output))
        elif step.status in SETTLED:
            data.record_skip(node)
    return data


async def resolve_recorded_results(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Return the results that are in the log already: decisions, and outputs that a retry has kept.

    Raises Unavailable.
    """
    return [*await resolve_decisions(contents, held), *await resolve_retained_outputs(contents, held)]


async def resolve_decisions(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Return the results of the decided steps: `{outcome, data, comment}`, or `{received, data}` of a signal.

    Raises Unavailable.
    """
    results: list[tuple[str, Result]] = []
    for node, step in held.state.steps.items():
        decision = step.decision
        if step.status is StepStatus.DECIDED and decision is not None:
            answer = await resolve(contents, held.workspace_id, decision.data)
            output = {"outcome": decision.outcome, "data": answer, "comment": decision.comment}
            results.append((node, Succeeded(output, await keep(contents, held.workspace_id, output))))
        elif step.status is StepStatus.DECIDED and step.signal is not None:
            output = build_signal_output(await resolve(contents, held.workspace_id, step.signal.data), received=True)
            results.append((node, Succeeded(output, await keep(contents, held.workspace_id, output))))
    return results


async def resolve_retained_outputs(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Return the results of the steps whose outputs a retry has kept, without another call. Raises Unavailable."""
    return [
        (node, Succeeded(await resolve(contents, held.workspace_id, step.gave), step.gave))
        for node, step in held.state.steps.items()
        if step.status is StepStatus.GIVEN and step.gave is not None
    ]


async def resolve_overdue(
    contents: ContentStore, held: Folded[Run], graph: CompiledGraph, now: datetime, busy: Collection[str]
) -> list[tuple[str, Result]]:
    """Return the results of the overdue steps, except those in `busy`, which this engine executes.

    Raises Unavailable.
    """
    results: list[tuple[str, Result]] = []
    for node in list_overdue_steps(held.state, now):
        if node in busy:
            continue
        step = held.state.steps[node]
        if step.status is StepStatus.RETRYING:
            results.append((node, RetryDue()))
        elif step.waiting is not None:
            result = await _resolve_wait(contents, held, graph, step.waiting)
            if result is not None:
                results.append((node, result))
    return results


async def _resolve_wait(
    contents: ContentStore, held: Folded[Run], graph: CompiledGraph, waiting: StepWaiting
) -> Result | None:
    """Return the result of a wait at its `until`; None for a wait that the clock does not end."""
    if waiting.until is None:
        return None
    if waiting.waiting_for is WaitFor.TIMER:
        output = build_delay_output(waiting.until)
        return Succeeded(output, await keep(contents, held.workspace_id, output))
    node = graph.nodes[waiting.node]
    if isinstance(node, WaitNode):
        return await _resolve_missing_signal(contents, held, node.config, waiting.until)
    if waiting.waiting_for is not WaitFor.HUMAN or not isinstance(node, HumanNode) or node.config.deadline is None:
        return None
    then = node.config.deadline.then
    if not isinstance(then, DecideAtDeadline):
        return build_failure(
            ErrorClass.DEADLINE, f"Nobody decided by the deadline, {build_delay_output(waiting.until)['until']}."
        )
    output = {"outcome": then.outcome, "data": then.data, "comment": None}
    data = await keep(contents, held.workspace_id, then.data)
    return DecidedAtDeadline(then.outcome, data, Succeeded(output, await keep(contents, held.workspace_id, output)))


async def _resolve_missing_signal(
    contents: ContentStore, held: Folded[Run], config: WaitConfig, until: datetime
) -> Result:
    then = None if config.deadline is None else config.deadline.then
    if not isinstance(then, ContinueAtDeadline):
        return build_failure(
            ErrorClass.DEADLINE,
            f"No signal '{config.signal}' came by the deadline, {build_delay_output(until)['until']}.",
        )
    output = build_signal_output(then.data, received=False)
    return Succeeded(output, await keep(contents, held.workspace_id, output))
