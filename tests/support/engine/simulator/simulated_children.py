"""The children of a simulated run, simulated too, on the same clock; started and gathered as the engine does."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from domain.graphs.graph import ErrorClass
from domain.runs.facts import ItemResult, Parent, StepWaiting, WaitFor
from domain.runs.steps import Step, StepStatus
from engine.children.outcome import build_item_result, compute_step_outcome, select_counted_items
from engine.children.step_children import OUT_OF_TIME, create_child_id, is_past_deadline
from engine.steps.child import get_child_concurrency
from engine.steps.contract import ItemsSettled, build_failure
from tests.support.engine.simulator.simulated_results import NoContents, run_now

if TYPE_CHECKING:
    from tests.support.engine.simulator.simulator import Simulator

Key = tuple[int, str, int]
"""The parent of children: the run's attempt, the step, and its attempt."""


class SimulatedChildren:
    """The children of all steps of one simulated run, by their indexes in the lists."""

    def __init__(self, simulator: "Simulator") -> None:
        """Create it without children."""
        self._simulator = simulator
        self.begun: dict[Key, dict[int, Simulator]] = {}
        self._are_tended = False

    def moves(self) -> Iterator[tuple[datetime, Callable[[], None]]]:
        """Yield the times of the next events of the children, with the function that executes each."""
        simulator = self._simulator
        for children in self.begun.values():
            for child in children.values():
                at = child.next_at()
                if at is not None:
                    yield at, partial(self._advance, child)
        if simulator.run.has_ended or not self._are_tended:
            return
        for node, step, waiting in self._waiting():
            if node in dict(simulator.unrecorded):
                continue
            if self._ready(node) or len(step.items) == waiting.children:
                yield simulator.now, partial(self._gather, node)
            elif waiting.until is not None:
                yield waiting.until + timedelta(seconds=simulator.faults.lag_seconds), partial(self._gather, node)

    def start_due(self) -> None:
        """Start as many children of each waiting step as its concurrency allows; from now on they are supervised."""
        self._are_tended = True
        for node, step, waiting in self._waiting():
            begun = self.begun.setdefault(self._key(node, step), {})
            most = get_child_concurrency(self._simulator.graph_case.compiled_graph.nodes[node])
            for item in range(waiting.children):
                if sum(not child.run.has_ended for child in begun.values()) >= most:
                    break
                if item not in begun and item not in step.items:
                    begun[item] = self._begin(node, waiting, item)

    def cancel(self) -> None:
        """Cancel all children of a run that is about to end; they are no longer supervised."""
        self._are_tended = False
        for children in self.begun.values():
            for child in children.values():
                child.cancel()

    def _begin(self, node: str, waiting: StepWaiting, item: int) -> "Simulator":
        simulator = self._simulator
        return type(simulator)(
            graph_case=simulator.graph_case.behaviours[node].items[item],
            random=simulator.random,
            faults=simulator.faults,
            now=simulator.now,
            parent=Parent(run_id=simulator.run_id, node=node, item=item),
            run_id=create_child_id(simulator.run_id, simulator.run.attempt, waiting, item),
        ).begin()

    def _advance(self, child: "Simulator") -> None:
        child.now = max(child.now, self._simulator.now)
        child.advance()
        if not self._simulator.run.has_ended and self._are_tended:
            self.start_due()

    def _gather(self, node: str) -> None:
        """Record the results of some ended children, as `Children` does, or the timeout."""
        simulator = self._simulator
        step = simulator.run.steps[node]
        begun, ready = self.begun[self._key(node, step)], self._ready(node)
        items = simulator.random.sample(ready, simulator.random.randint(min(1, len(ready)), len(ready)))
        results = [_result(item, begun[item]) for item in items]
        known = {**step.items, **{result.item: result for result in results}}
        waiting = step.waiting
        assert waiting is not None
        counted = select_counted_items(known, is_late=is_past_deadline(waiting, simulator.now))
        then = run_now(
            compute_step_outcome(
                simulator.graph_case.compiled_graph.nodes[node],
                waiting.children,
                counted,
                NoContents(),
                simulator.run_id,
            )
        )
        if then is None and items == ready and is_past_deadline(waiting, simulator.now):
            then = build_failure(ErrorClass.TIMEOUT, OUT_OF_TIME)
        if then is not None:
            for child in begun.values():
                child.cancel()
        if simulator.random.random() < simulator.faults.spurious:
            results.extend(step.items.values())  # what was told of already may be told of once more
        simulator.execute_turn([(node, ItemsSettled(tuple(results), then))], resuming=simulator.moved)

    def _ready(self, node: str) -> list[int]:
        """Return the items whose children have ended and whose results are not recorded yet."""
        step = self._simulator.run.steps[node]
        begun = self.begun.get(self._key(node, step), {})
        return [item for item, child in begun.items() if child.run.has_ended and item not in step.items]

    def is_waiting_for_children(self, step: Step) -> bool:
        """Return whether a step waits for children."""
        if step.status is not StepStatus.WAITING or step.waiting is None:
            return False
        return step.waiting.waiting_for is WaitFor.CHILD

    def _waiting(self) -> Iterator[tuple[str, Step, StepWaiting]]:
        for node, step in self._simulator.run.steps.items():
            if self.is_waiting_for_children(step) and step.waiting is not None:
                yield node, step, step.waiting

    def _key(self, node: str, step: Step) -> Key:
        return self._simulator.run.attempt, node, step.attempt


def _result(item: int, child: "Simulator") -> ItemResult:
    return run_now(build_item_result(item, child.run_id, child.run, NoContents(), child.run_id))
