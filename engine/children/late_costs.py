"""Usage of children that end after the step or the run that waited for them: it is counted there all the same."""

from functools import reduce
from typing import Final
from uuid import UUID

from commands.aggregates import RUN
from domain.fact import get_topic
from domain.folded import Folded
from domain.runs.facts import Parent, StepItemCounted, StepItemsSettled, UsageTotals, add_totals, subtract_totals
from domain.runs.run import Run, compute_usage_totals
from engine.children.step_children import create_child_id
from engine.turns.context import EngineContext
from store.errors import Conflict
from store.log.records import Actor, Metadata

COUNTING_TOPICS: Final = (get_topic(StepItemsSettled), get_topic(StepItemCounted))
NOTHING: Final = UsageTotals()


def may_be_late(run: Run, parent: Parent, child_id: UUID) -> bool:
    """Return whether a child that has ended is neither waited for by its parent's step nor among its results."""
    step = run.steps.get(parent.node)
    result = None if step is None else step.items.get(parent.item or 0)
    if result is not None and result.run_id == child_id:
        return False
    return not _is_awaited(run, parent, child_id)


def _is_awaited(run: Run, parent: Parent, child_id: UUID) -> bool:
    step, item = run.steps.get(parent.node), parent.item or 0
    if step is None or step.waiting is None or run.has_ended or not step.waits_for_children or item in step.items:
        return False
    return create_child_id(parent.run_id, run.attempt, step.waiting, item) == child_id


async def count_late_child(context: EngineContext, child_id: UUID, parent: Parent) -> None:
    """Record the uncounted usage of a child in its parent, and in the parent's parent.

    Raises Unavailable. If the engine is lost right before, the usage is never counted.
    """
    while True:
        child = await context.streams.reload(RUN, child_id)
        held = await context.streams.reload(RUN, parent.run_id)
        if child is None or held is None or not child.state.has_ended:
            return
        took = compute_usage_totals(child.state)
        if not took.model_calls or _is_awaited(held.state, parent, child_id):
            return
        counted = await _read_counted(context, parent.run_id, child_id)
        if took.model_calls > counted.model_calls:
            try:
                await _append(context, held, child_id, parent, subtract_totals(took, counted))
            except Conflict:
                continue
        if held.state.parent is None or not held.state.has_ended:
            return
        child_id, parent = held.stream_id, held.state.parent


async def _read_counted(context: EngineContext, parent_id: UUID, child_id: UUID) -> UsageTotals:
    """Return what is counted of a child in its parent's stream."""
    found: list[UsageTotals] = []
    for recorded in await context.log.read_stream_tails({parent_id: 0}, COUNTING_TOPICS):
        match recorded.fact:
            case StepItemsSettled(items=items):
                found += [item.took for item in items if item.run_id == child_id and item.took is not None]
            case StepItemCounted(run_id=run_id, took=took) if run_id == child_id:
                found.append(took)
            case _:
                pass
    return reduce(add_totals, found, NOTHING)


async def _append(context: EngineContext, held: Folded[Run], child_id: UUID, parent: Parent, took: UsageTotals) -> None:
    fact = StepItemCounted(
        node=parent.node, item=parent.item or 0, run_id=child_id, took=took, counted_at=context.clock()
    )
    first, *_ = await context.log.read_stream(held.stream_id, limit=1)
    metadata = Metadata(
        actor=Actor("engine", context.owner.name),
        correlation_id=first.metadata.correlation_id,
        causation=held.position,
        traceparent=first.metadata.traceparent,
    )
    appended = await context.streams.append(RUN, held, (fact,), metadata)
    if isinstance(appended, Folded):
        context.streams.keep(appended)
