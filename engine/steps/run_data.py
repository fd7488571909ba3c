"""The data of a run as its expressions see it: `inputs` and `steps.<id>.output`."""

from typing import Any, cast

from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import CompiledEdge, CompiledGraph
from domain.runs.run import Run


class RunData:
    """The resolved values of one run, filled as its steps complete; a skipped one is there without output."""

    __slots__ = ("inputs", "steps")

    def __init__(self, inputs: object) -> None:
        """Start with the inputs that the run was started with."""
        self.inputs = inputs
        self.steps: dict[str, Any] = {}

    def record_output(self, node: str, output: object) -> None:
        """Remember what a step gave."""
        self.steps[node] = {"output": output}

    def record_skip(self, node: str) -> None:
        """Remember that a step gave nothing, so that expressions may ask whether it did."""
        self.steps[node] = {}

    def has_output(self, node: str) -> bool:
        """Return whether a step gave an output."""
        return "output" in self.steps.get(node, ())

    def to_expression_data(self) -> dict[str, Any]:
        """Return a snapshot for templates and queries; the output of a step may hold all of it, but not itself."""
        return {"inputs": self.inputs, "steps": dict(self.steps)}


def decide_edges(graph: CompiledGraph, node: str, data: RunData) -> tuple[int, ...]:
    """Decide the edges out of a step that completed. Raises ExpressionFault where a condition cannot be evaluated."""
    return tuple(edge.index for edge in graph.outgoing[node] if _is_taken(edge, data))


def find_fallback_edges(graph: CompiledGraph, node: str) -> tuple[int, ...]:
    """Return the edge that is taken when a step has failed for good, if it has one."""
    return tuple(edge.index for edge in graph.outgoing[node] if edge.on_failure)


def _is_taken(edge: CompiledEdge, data: RunData) -> bool:
    if edge.on_failure:
        return False
    condition = edge.condition
    try:
        return condition is None or condition.holds(_mapping(data.inputs), data.steps)
    except ExpressionFault as fault:
        told = f"the condition of the edge to '{edge.target}' cannot be evaluated: {fault.message}"
        raise ExpressionFault(told) from fault


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def resolve_pass_through(graph: CompiledGraph, run: Run, node: str, data: RunData) -> object:
    """Return what passes through a step that adds nothing: what the taken edges bring, or the inputs at an entry."""
    incoming = graph.incoming[node]
    if not incoming:
        return data.inputs
    outputs = {
        edge.source: data.steps[edge.source]["output"]
        for edge in incoming
        if (step := run.steps.get(edge.source)) is not None
        and edge.index in step.edges_taken
        and data.has_output(edge.source)  # one that failed may have a default output, or lead on without any
    }
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs
