"""The children of every step of one run that waits for some, as the run's driver sees them."""

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import Node
from domain.runs.facts import Parent, StepWaiting, WaitFor
from domain.runs.run import Run
from domain.runs.steps import Step, StepStatus
from engine.children.step_children import StepChildren, is_past_deadline
from engine.steps.contract import ItemsSettled
from engine.turns.context import EngineContext
from store.log.records import Metadata


class RunChildren:
    """Keeps the children of each waiting step while the run is driven."""

    def __init__(self, context: EngineContext) -> None:
        """Create it for one driver."""
        self._context = context
        self._children: dict[str, StepChildren] = {}
        self._resting: set[str] = set()
        self._unrecorded: list[tuple[UUID, Parent]] = []

    def notify_ended(self, node: str, item: int, run_id: UUID) -> bool:
        """Note that a child has ended; return whether its step must be supervised again."""
        children = self._children.get(node)
        if children is None or not children.notify_ended(item, run_id) or node not in self._resting:
            return False
        self._resting.discard(node)
        return True

    def list_unrecorded(self) -> list[tuple[UUID, Parent]]:
        """Return the children that have ended and are in no result: their steps may wait for them no longer."""
        return [*self._unrecorded, *(found for each in self._children.values() for found in each.list_unrecorded())]

    def list_untended(self, run: Run, busy: Collection[str], results: Collection[tuple[str, Any]]) -> list[str]:
        """Return the steps that wait for children and that no task supervises."""
        if not run.waiting:
            return []
        known = {node for node, _ in results}
        return [
            node
            for node, step in run.steps.items()
            if step.waits_for_children and node not in busy and node not in known and not self._rests(node, step)
        ]

    def _rests(self, node: str, step: Step) -> bool:
        return node in self._resting and not is_past_deadline(_get_waiting(step), self._context.clock())

    async def tend(self, held: Folded[Run], node: Node, metadata: Metadata) -> ItemsSettled | None:
        """Start and gather the children of a step; None when nothing happens for a while."""
        step = held.state.steps[node.id]
        result = await self._get_children(held, node, step).tend(step, metadata)
        if result is None:
            self._resting.add(node.id)
        return result

    async def cancel(self, held: Folded[Run], graph: CompiledGraph, metadata: Metadata) -> None:
        """Request the cancellation of the children of a run that ends without them. Raises Unavailable."""
        for node, step in _iterate_cancelled(held.state):
            await self._get_children(held, graph.nodes[node], step).cancel(step, metadata)

    def _get_children(self, held: Folded[Run], node: Node, step: Step) -> StepChildren:
        children = self._children.get(node.id)
        if children is None or children.attempt != step.attempt:
            if children is not None:
                self._unrecorded += children.list_unrecorded()
            children = self._children[node.id] = StepChildren(self._context, held, node, _get_waiting(step))
        return children


def _get_waiting(step: Step) -> StepWaiting:
    if step.waiting is None:
        raise TypeError("the step does not wait")
    return step.waiting


def _iterate_cancelled(run: Run) -> Iterator[tuple[str, Step]]:
    for node, step in run.steps.items():
        waiting = step.waiting
        if step.status is StepStatus.CANCELLED and waiting is not None and waiting.waiting_for is WaitFor.CHILD:
            yield node, step
