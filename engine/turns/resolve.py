"""Resolving what a run's facts refer to, so that expressions see values."""

from collections.abc import Collection
from datetime import datetime

from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.graphs.configs import DecideAtDeadline
from domain.graphs.graph import ErrorClass, HumanNode
from domain.runs.facts import StepWaiting, WaitFor
from domain.runs.run import Run
from domain.runs.steps import SETTLED, StepStatus
from engine.steps.contract import DecidedAtDeadline, Result, RetryDue, Succeeded, build_failure
from engine.steps.delay import build_delay_output
from engine.steps.run_data import RunData
from engine.turns.schedule import overdue
from store.contents import ContentStore, keep, resolve


async def resolved(contents: ContentStore, held: Folded[Run]) -> RunData:
    """Give the data of a run as its expressions see it. Raises Unavailable."""
    run = held.state
    data = RunData(await resolve(contents, held.workspace_id, run.inputs))
    for node, step in run.steps.items():
        leads_on = step.status is StepStatus.FAILED and step.continued
        if step.status is StepStatus.COMPLETED or leads_on:
            data.record_output(node, await resolve(contents, held.workspace_id, step.output))
        elif step.status in SETTLED:
            data.record_skip(node)
    return data


async def answered(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Give what steps come to by what is recorded of them: decisions, and outputs that a retry has kept.

    Raises Unavailable.
    """
    return [*await decided(contents, held), *await given(contents, held)]


async def decided(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Give what the decided steps of a run come to: `{outcome, data, comment}`. Raises Unavailable."""
    results: list[tuple[str, Result]] = []
    for node, step in held.state.steps.items():
        decision = step.decision
        if step.status is StepStatus.DECIDED and decision is not None:
            answer = await resolve(contents, held.workspace_id, decision.data)
            output = {"outcome": decision.outcome, "data": answer, "comment": decision.comment}
            results.append((node, Succeeded(output, await keep(contents, held.workspace_id, output))))
    return results


async def given(contents: ContentStore, held: Folded[Run]) -> list[tuple[str, Result]]:
    """Give what the steps come to whose outputs a retry has kept: without another call. Raises Unavailable."""
    return [
        (node, Succeeded(await resolve(contents, held.workspace_id, step.gave), step.gave))
        for node, step in held.state.steps.items()
        if step.status is StepStatus.GIVEN and step.gave is not None
    ]


async def timed_out(
    contents: ContentStore, held: Folded[Run], graph: CompiledGraph, now: datetime, busy: Collection[str]
) -> list[tuple[str, Result]]:
    """Give what the steps come to whose time has come, but for those under way here. Raises Unavailable."""
    results: list[tuple[str, Result]] = []
    for node in overdue(held.state, now):
        if node in busy:
            continue
        step = held.state.steps[node]
        if step.status is StepStatus.RETRYING:
            results.append((node, RetryDue()))
        elif step.waiting is not None and (came_to := await _waited(contents, held, graph, step.waiting)) is not None:
            results.append((node, came_to))
    return results


async def _waited(
    contents: ContentStore, held: Folded[Run], graph: CompiledGraph, waiting: StepWaiting
) -> Result | None:
    """Give what a wait comes to at its `until`; None for what is not settled by the clock."""
    if waiting.until is None:
        return None
    if waiting.waiting_for is WaitFor.TIMER:
        output = build_delay_output(waiting.until)
        return Succeeded(output, await keep(contents, held.workspace_id, output))
    node = graph.nodes[waiting.node]
    if waiting.waiting_for is not WaitFor.HUMAN or not isinstance(node, HumanNode) or node.config.deadline is None:
        return None
    then = node.config.deadline.then
    if not isinstance(then, DecideAtDeadline):
        return build_failure(ErrorClass.DEADLINE, f"nobody decided until {build_delay_output(waiting.until)['until']}")
    output = {"outcome": then.outcome, "data": then.data, "comment": None}
    data = await keep(contents, held.workspace_id, then.data)
    return DecidedAtDeadline(then.outcome, data, Succeeded(output, await keep(contents, held.workspace_id, output)))
