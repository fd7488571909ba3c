"""The data of a run that expressions see: `inputs` and `steps.<id>.output`."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final, cast
from uuid import UUID

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


def decide_edges(graph: CompiledGraph, node: str, data: RunData) -> tuple[int, ...]:
    """Return the edges taken after a completed step. Raises ExpressionFault if a condition cannot be evaluated."""
    return tuple(edge.index for edge in graph.outgoing[node] if _is_taken(edge, data))


def find_fallback_edges(graph: CompiledGraph, node: str) -> tuple[int, ...]:
    """Return the fallback edge, taken after the last failed attempt of a step, if any."""
    return tuple(edge.index for edge in graph.outgoing[node] if edge.on_failure)


def _is_taken(edge: CompiledEdge, data: RunData) -> bool:
    if edge.on_failure:
        return False
    condition = edge.condition
    try:
        return condition is None or condition.holds(_to_mapping(data.inputs), data.steps)
    except ExpressionFault as fault:
        message = f"the condition of the edge to '{edge.target}' cannot be evaluated: {fault.message}"
        raise ExpressionFault(message) from fault


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
