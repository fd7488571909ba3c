"""The data of a run that expressions see: `inputs` and `steps.<id>.output`."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

from domain.expressions.budget import Budget, TooMuchWork
from domain.expressions.cel import charge_compiling, compile_condition
from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import CompiledEdge, CompiledGraph
from domain.ids import from_uuid
from domain.runs.run import Run

NO_DESCRIPTION: Final[Mapping[str, object]] = {}


def describe_run(run_id: UUID, run: Run, public_url: str) -> dict[str, object]:
    """Return what templates and queries see as `run`."""
    text = from_uuid("run", run_id)
    started = None if run.started_at is None else run.started_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": text,
        "name": run.name,
        "labels": run.labels,
        "started_at": started,
        "signal_url": f"{public_url.rstrip('/')}/v1/runs/{text}:signal",
    }


class RunData:
    """The resolved values of one run, filled as its steps complete; a skipped step has no output."""

    __slots__ = ("inputs", "run", "steps")

    def __init__(self, inputs: object, run: Mapping[str, object] = NO_DESCRIPTION) -> None:
        """Create it with the run's inputs, and what expressions see of the run itself."""
        self.inputs = inputs
        self.run = run
        self.steps: dict[str, Any] = {}

    def record_output(self, node: str, output: object) -> None:
        """Record the output of a step."""
        self.steps[node] = {"output": output}

    def record_skip(self, node: str) -> None:
        """Record a step without output, so that expressions can test whether it has one."""
        self.steps[node] = {}

    def has_output(self, node: str) -> bool:
        """Return whether a step has an output."""
        return "output" in self.steps.get(node, ())

    def to_expression_data(self) -> dict[str, Any]:
        """Return a snapshot for templates and queries, so that an output that contains it cannot contain itself."""
        return {"inputs": self.inputs, "steps": dict(self.steps), "run": dict(self.run)}


class ConditionsTooSlow(Exception):  # noqa: N818  # makes the driver evaluate them in a worker
    """The conditions after a step would hold the event loop; `work` evaluates them in a worker process."""

    def __init__(self, node: str, work: Callable[[], tuple[int, ...]]) -> None:
        """Name the step whose outgoing edges these are."""
        super().__init__(node)
        self.node = node
        self.work = work


def decide_edges(graph: CompiledGraph, node: str, data: RunData, budget: Budget) -> tuple[int, ...]:
    """Return the edges taken after a completed step.

    Raises ExpressionFault if a condition cannot be evaluated, ConditionsTooSlow beyond the budget.
    """
    inputs = _to_mapping(data.inputs)
    try:
        return tuple(edge.index for edge in graph.outgoing[node] if _is_taken(edge, inputs, data.steps, budget))
    except TooMuchWork:
        conditions = tuple((edge.index, edge.target, edge.when) for edge in graph.outgoing[node] if not edge.on_failure)
        work = partial(evaluate_conditions, conditions, inputs, dict(data.steps))
        raise ConditionsTooSlow(node, work) from None


def evaluate_conditions(
    conditions: tuple[tuple[int, str, str | None], ...], inputs: dict[str, Any], steps: dict[str, Any]
) -> tuple[int, ...]:
    """Return the indexes of edges whose conditions hold, of (index, target, CEL). Raises ExpressionFault."""
    budget = Budget()
    taken: list[int] = []
    for index, target, source in conditions:
        with _name_target(target):
            if source is None or compile_condition(source).holds(inputs, steps, budget):
                taken.append(index)
    return tuple(taken)


def find_fallback_edges(graph: CompiledGraph, node: str) -> tuple[int, ...]:
    """Return the fallback edge, taken after the last failed attempt of a step, if any."""
    return tuple(edge.index for edge in graph.outgoing[node] if edge.on_failure)


def _is_taken(edge: CompiledEdge, inputs: dict[str, Any], steps: dict[str, Any], budget: Budget) -> bool:
    if edge.on_failure:
        return False
    if edge.when is None:
        return True
    try:
        charge_compiling(edge.when, budget)
        return compile_condition(edge.when).holds(inputs, steps, budget)
    except TooMuchWork:
        raise
    except ExpressionFault as fault:
        raise _name_edge(edge.target, fault) from fault


@contextmanager
def _name_target(target: str) -> Generator[None]:
    try:
        yield
    except ExpressionFault as fault:
        raise _name_edge(target, fault) from fault


def _name_edge(target: str, fault: ExpressionFault) -> ExpressionFault:
    return ExpressionFault(f"the condition of the edge to '{target}' cannot be evaluated: {fault.message}")


def _to_mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def resolve_pass_through(graph: CompiledGraph, run: Run, node: str, data: RunData) -> object:
    """Return the input of a step: the outputs along its taken edges, or the run's inputs if it has no edges."""
    incoming = graph.incoming[node]
    if not incoming:
        return data.inputs
    outputs = {
        edge.source: data.steps[edge.source]["output"]
        for edge in incoming
        if (step := run.steps.get(edge.source)) is not None
        and edge.index in step.edges_taken
        and data.has_output(edge.source)  # a failed step may have a default output, or continue without one
    }
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs
