"""Steps that are due in a run: pure functions of its folded state and its pinned graph.

A node starts once all its incoming edges are settled and at least one of them was taken; otherwise it is skipped, and
so are the nodes that only it leads to. Only the neighbours of nodes that have just settled are visited, so a step
costs the same in a graph of 500 nodes as in a graph of three.
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


class DueSteps(Struct, frozen=True):
    """The steps to start and the steps to skip, in the order of the graph."""

    start: tuple[str, ...]
    skip: tuple[str, ...]


class _Verdict(Enum):
    WAIT = auto()
    START = auto()
    SKIP = auto()


def find_due_at_start(graph: CompiledGraph) -> DueSteps:
    """Return what is due in a run that has only started."""
    return DueSteps(start=graph.entries, skip=())


def find_due_after(graph: CompiledGraph, run: Run, settled: Iterable[str]) -> DueSteps:
    """Return what is due because these nodes have settled, as `run` must know already."""
    start: list[str] = []
    skip: dict[str, None] = {}
    queue = deque(settled)
    while queue:
        for edge in graph.outgoing[queue.popleft()]:
            target = edge.target
            if target in run.steps or target in skip or target in start:
                continue
            verdict = _judge(graph, run, skip, target)
            if verdict is _Verdict.START:
                start.append(target)
            elif verdict is _Verdict.SKIP:
                skip[target] = None
                queue.append(target)
    return DueSteps(start=tuple(start), skip=tuple(skip))


def find_due_on_resume(graph: CompiledGraph, run: Run) -> DueSteps:
    """Return what is due in a run taken over from an engine that is gone, at whatever point it stopped.

    A step that was claimed and has not settled starts again, as its next attempt.
    """
    open_steps = [node for node, step in run.steps.items() if step.status is StepStatus.RUNNING]
    entries = [node for node in graph.entries if node not in run.steps]
    due = find_due_after(graph, run, (node for node, step in run.steps.items() if step.status in SETTLED))
    return DueSteps(start=(*open_steps, *entries, *due.start), skip=due.skip)


def list_overdue_steps(run: Run, now: datetime) -> tuple[str, ...]:
    """Return the steps whose time has come by the clock: the end of a wait, or the next attempt of a retry.

    A pure function of what is recorded, so every engine finds the same; never early.
    """
    if run.has_ended or not (run.waiting or run.busy):
        return ()
    return tuple(node for node, step in run.steps.items() if (at := get_due_time(step)) is not None and at <= now)


def get_due_time(step: Step) -> datetime | None:
    """Return when a step is due by the clock, or None."""
    if step.status is StepStatus.RETRYING:
        return step.retry_at
    return step.waiting.until if step.status is StepStatus.WAITING and step.waiting is not None else None


def _judge(graph: CompiledGraph, run: Run, skipped_now: Iterable[str], node: str) -> _Verdict:
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


def is_all_settled(graph: CompiledGraph, run: Run) -> bool:
    """Return whether every node has completed, failed for good or been skipped."""
    return run.settled == len(graph.nodes)
