"""The children of a played run: runs played too, by the same clock, begun and gathered as `engine.children` does."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from domain.run_facts import Parent, StepWaiting, WaitFor
from domain.run_steps import Step, StepStatus
from engine.child_ids import child_id
from engine.child_outcome import item_result, outcome_of
from engine.child_steps import concurrency_of
from engine.step import ItemsSettled
from tests.engine.play_results import NoContents, at_once

if TYPE_CHECKING:
    from tests.engine.play import Play

Key = tuple[int, str, int]
"""Whose children they are: the run's attempt, the step, and its attempt."""


class Families:
    """The children of all the steps of one played run, in the order in which they began."""

    def __init__(self, play: "Play") -> None:
        """Begin without any."""
        self._play = play
        self.begun: dict[Key, list[Play]] = {}

    def moves(self) -> Iterator[tuple[datetime, Callable[[], None]]]:
        """Give when something happens among the children, and what."""
        play = self._play
        for children in self.begun.values():
            for child in children:
                at = child.next_at()
                if at is not None:
                    yield at, partial(self._advance, child)
        if not play.run.ended:
            for node, _, _ in self._waiting():
                if self._ready(node):
                    yield play.now, partial(self._gather, node)

    def tend(self) -> None:
        """Begin as many children of each waiting step as may be under way at once."""
        for node, step, waiting in self._waiting():
            begun = self.begun.setdefault(self._key(node, step), [])
            most = concurrency_of(self._play.plot.compiled.nodes[node])
            while len(begun) < waiting.children and sum(not child.run.ended for child in begun) < most:
                begun.append(self._begin(node, waiting, len(begun)))

    def cancel(self) -> None:
        """Ask all children to end that have not."""
        for children in self.begun.values():
            for child in children:
                child.cancel()

    def _begin(self, node: str, waiting: StepWaiting, item: int) -> "Play":
        play = self._play
        return type(play)(
            plot=play.plot.behaviours[node].items[item],
            random=play.random,
            chances=play.chances,
            now=play.now,
            parent=Parent(run_id=play.run_id, node=node, item=item),
            run_id=child_id(play.run_id, play.run.attempt, waiting, item),
        ).begin()

    def _advance(self, child: "Play") -> None:
        child.now = max(child.now, self._play.now)
        child.advance()
        if not self._play.run.ended:
            self.tend()

    def _gather(self, node: str) -> None:
        """Record what some of the children came to that have ended, as `Children` does."""
        play = self._play
        step = play.run.steps[node]
        begun, ready = self.begun[self._key(node, step)], self._ready(node)
        items = play.random.sample(ready, play.random.randint(1, len(ready)))
        if play.random.random() < play.chances.spurious:
            items.extend(step.items)  # what was told of already may be told of once more
        contents = NoContents()
        results = [
            at_once(item_result(item, begun[item].run_id, begun[item].run, contents, play.run_id)) for item in items
        ]
        known = {**step.items, **{one.item: one for one in results}}
        count = len(play.plot.behaviours[node].items)
        then = at_once(outcome_of(play.plot.compiled.nodes[node], count, known, contents, play.run_id))
        if then is not None:
            for child in begun:
                child.cancel()
        play.turn([(node, ItemsSettled(tuple(results), then))], resuming=play.moved)

    def _ready(self, node: str) -> list[int]:
        """Give the items whose children have ended without that being recorded, or about to be."""
        step = self._play.run.steps[node]
        if any(node == name for name, _ in self._play.unrecorded):
            return []
        begun = self.begun.get(self._key(node, step), [])
        return [item for item, child in enumerate(begun) if child.run.ended and item not in step.items]

    def _waiting(self) -> Iterator[tuple[str, Step, StepWaiting]]:
        for node, step in self._play.run.steps.items():
            waiting = step.waiting
            if step.status is StepStatus.WAITING and waiting is not None and waiting.waiting_for is WaitFor.CHILD:
                yield node, step, waiting

    def _key(self, node: str, step: Step) -> Key:
        return self._play.run.attempt, node, step.attempt
