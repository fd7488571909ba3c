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
from tests.support.engine.simulator.simulated_results import NoContents, at_once

if TYPE_CHECKING:
    from tests.support.engine.simulator.simulator import Play

Key = tuple[int, str, int]
"""Whose children they are: the run's attempt, the step, and its attempt."""


class Families:
    """The children of all the steps of one played run, by their places in the lists."""

    def __init__(self, play: "Play") -> None:
        """Begin without any."""
        self._play = play
        self.begun: dict[Key, dict[int, Play]] = {}
        self._are_tended = False

    def moves(self) -> Iterator[tuple[datetime, Callable[[], None]]]:
        """Give when something happens among the children, and what."""
        play = self._play
        for children in self.begun.values():
            for child in children.values():
                at = child.next_at()
                if at is not None:
                    yield at, partial(self._advance, child)
        if play.run.has_ended or not self._are_tended:
            return
        for node, step, waiting in self._waiting():
            if node in dict(play.unrecorded):
                continue
            if self._ready(node) or len(step.items) == waiting.children:
                yield play.now, partial(self._gather, node)
            elif waiting.until is not None:
                yield waiting.until + timedelta(seconds=play.chances.lag_seconds), partial(self._gather, node)

    def tend(self) -> None:
        """Begin as many children of each waiting step as may be under way at once, and look after them from now on."""
        self._are_tended = True
        for node, step, waiting in self._waiting():
            begun = self.begun.setdefault(self._key(node, step), {})
            most = get_child_concurrency(self._play.plot.compiled.nodes[node])
            for item in range(waiting.children):
                if sum(not child.run.has_ended for child in begun.values()) >= most:
                    break
                if item not in begun and item not in step.items:
                    begun[item] = self._begin(node, waiting, item)

    def cancel(self) -> None:
        """Ask all children to end that have not, of a run that is about to: nobody looks after them any more."""
        self._are_tended = False
        for children in self.begun.values():
            for child in children.values():
                child.cancel()

    def _begin(self, node: str, waiting: StepWaiting, item: int) -> "Play":
        play = self._play
        return type(play)(
            plot=play.plot.behaviours[node].items[item],
            random=play.random,
            chances=play.chances,
            now=play.now,
            parent=Parent(run_id=play.run_id, node=node, item=item),
            run_id=create_child_id(play.run_id, play.run.attempt, waiting, item),
        ).begin()

    def _advance(self, child: "Play") -> None:
        child.now = max(child.now, self._play.now)
        child.advance()
        if not self._play.run.has_ended and self._are_tended:
            self.tend()

    def _gather(self, node: str) -> None:
        """Record what some of the children came to that have ended, as `Children` does, or that time is over."""
        play = self._play
        step = play.run.steps[node]
        begun, ready = self.begun[self._key(node, step)], self._ready(node)
        items = play.random.sample(ready, play.random.randint(min(1, len(ready)), len(ready)))
        results = [_result(item, begun[item]) for item in items]
        known = {**step.items, **{one.item: one for one in results}}
        waiting = step.waiting
        assert waiting is not None
        counted = select_counted_items(known, is_late=is_past_deadline(waiting, play.now))
        then = at_once(
            compute_step_outcome(play.plot.compiled.nodes[node], waiting.children, counted, NoContents(), play.run_id)
        )
        if then is None and items == ready and is_past_deadline(waiting, play.now):
            then = build_failure(ErrorClass.TIMEOUT, OUT_OF_TIME)
        if then is not None:
            for child in begun.values():
                child.cancel()
        if play.random.random() < play.chances.spurious:
            results.extend(step.items.values())  # what was told of already may be told of once more
        play.turn([(node, ItemsSettled(tuple(results), then))], resuming=play.moved)

    def _ready(self, node: str) -> list[int]:
        """Give the items whose children have ended without that being recorded, or about to be."""
        step = self._play.run.steps[node]
        begun = self.begun.get(self._key(node, step), {})
        return [item for item, child in begun.items() if child.run.has_ended and item not in step.items]

    def are_of(self, step: Step) -> bool:
        """Tell whether a step waits for children."""
        if step.status is not StepStatus.WAITING or step.waiting is None:
            return False
        return step.waiting.waiting_for is WaitFor.CHILD

    def _waiting(self) -> Iterator[tuple[str, Step, StepWaiting]]:
        for node, step in self._play.run.steps.items():
            if self.are_of(step) and step.waiting is not None:
                yield node, step, step.waiting

    def _key(self, node: str, step: Step) -> Key:
        return self._play.run.attempt, node, step.attempt


def _result(item: int, child: "Play") -> ItemResult:
    return at_once(build_item_result(item, child.run_id, child.run, NoContents(), child.run_id))
