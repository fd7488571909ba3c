"""What is due in a run: a pure function of its folded state and its pinned graph.

A node runs once all its incoming edges are settled and at least one of them was taken; otherwise it is skipped, and
skipping spreads. Only the neighbours of what has just settled are looked at, so that a step costs the same in a graph
of 500 nodes as in one of three.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from enum import Enum, auto

from msgspec import Struct

from domain.graphs.compiled import CompiledGraph
from domain.runs.run import Run
from domain.runs.steps import SETTLED, Step, StepStatus

NO_EDGE_TAKEN = "no edge into this step was taken"


class Due(Struct, frozen=True):
    """What to do next, in the order of the graph: steps to start, and steps to skip."""

    start: tuple[str, ...]
    skip: tuple[str, ...]


class _Verdict(Enum):
    WAIT = auto()
    START = auto()
    SKIP = auto()


def due_first(graph: CompiledGraph) -> Due:
    """Give what is due in a run that has only started."""
    return Due(start=graph.entries, skip=())


def due_after(graph: CompiledGraph, run: Run, settled: Iterable[str]) -> Due:
    """Give what is due because these nodes have settled; `run` knows that they have."""
    start: list[str] = []
    skip: dict[str, None] = {}
    queue = deque(settled)
    while queue:
        for edge in graph.outgoing[queue.popleft()]:
            target = edge.target
            if target in run.steps or target in skip or target in start:
                continue
            verdict = _verdict(graph, run, skip, target)
            if verdict is _Verdict.START:
                start.append(target)
            elif verdict is _Verdict.SKIP:
                skip[target] = None
                queue.append(target)
    return Due(start=tuple(start), skip=tuple(skip))


def due_again(graph: CompiledGraph, run: Run) -> Due:
    """Give what is due in a run taken over from an owner that is gone, at whatever point it stopped.

    A step that was claimed and has not settled is started again, as its next attempt.
    """
    open_steps = [node for node, step in run.steps.items() if step.status is StepStatus.RUNNING]
    entries = [node for node in graph.entries if node not in run.steps]
    onward = due_after(graph, run, (node for node, step in run.steps.items() if step.status in SETTLED))
    return Due(start=(*open_steps, *entries, *onward.start), skip=onward.skip)


def overdue(run: Run, now: datetime) -> tuple[str, ...]:
    """Give the steps whose time has come: a wait that lasted until now, or an attempt to be made again by now.

    A pure function of what is recorded, so that whoever looks, and however often, finds the same; never early.
    """
    if run.ended or not (run.waiting or run.busy):
        return ()
    return tuple(node for node, step in run.steps.items() if (at := due_at(step)) is not None and at <= now)


def due_at(step: Step) -> datetime | None:
    """Give when a step is due by the clock, if it is."""
    if step.status is StepStatus.RETRYING:
        return step.retry_at
    return step.waiting.until if step.status is StepStatus.WAITING and step.waiting is not None else None


def _verdict(graph: CompiledGraph, run: Run, skipped_now: Iterable[str], node: str) -> _Verdict:
    taken = False
    for edge in graph.incoming[node]:
        step = run.steps.get(edge.source)
        if step is None:
            if edge.source not in skipped_now:
                return _Verdict.WAIT
        elif step.status not in SETTLED:
            return _Verdict.WAIT
        elif edge.index in step.edges_taken:
            taken = True
    return _Verdict.START if taken else _Verdict.SKIP


def all_settled(graph: CompiledGraph, run: Run) -> bool:
    """Tell whether every node has completed, failed for good or been skipped."""
    return run.settled == len(graph.nodes)
