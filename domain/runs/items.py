"""The finished items of a step that waits for children: kept when it is begun anew, so that none is done twice."""

from msgspec import Struct

from domain.payload import Payload
from domain.runs.facts import ItemOutcome, ItemResult, WaitFor
from domain.runs.steps import Step


class KeptItems(Struct, frozen=True, kw_only=True, gc=False):
    """What a step waited for, and the results of its children that completed, by their place in the list."""

    items: Payload
    children: int
    results: dict[int, ItemResult]


def finished_items(step: Step | None, before: KeptItems | None) -> KeptItems | None:
    """Return what has completed of a step's children; `before` is what it was begun with, and stands until it waits."""
    waiting = step.waiting if step is not None else None
    if step is None or waiting is None or waiting.waiting_for is not WaitFor.CHILD:
        return before
    results = {item: one for item, one in step.items.items() if one.outcome is ItemOutcome.COMPLETED}
    return KeptItems(items=waiting.items, children=waiting.children, results=results) if results else None
