"""Graphs with every point at which an engine can be killed: calls, a call that fails first, a timer, and a join."""

from typing import Any, Final
from uuid import UUID

from tests.support.engine.child_graphs import maps
from tests.support.graphs import Json, edge, graph, node

RETRY: Final = {
    "max_attempts": 2,
    "retry_on": ["overloaded"],
    "backoff": {"initial_seconds": 0.2, "factor": 1, "jitter": 0},
}


def asks(node_id: str, model: str = "echo", **fields: Any) -> Json:  # noqa: ANN401  # JSON
    """Return a prompt node whose prompt names its run and itself."""
    config = {"model": f"openai/{model}", "template": f"{{{{ inputs.name }}}} {node_id}"}
    return node(node_id, kind="prompt", config=config, **fields)


def waits(node_id: str, seconds: float) -> Json:
    return node(node_id, kind="delay", config={"seconds": seconds})


EVERY_POINT: Final = graph(
    asks("a"),
    asks("b", "status-503|x1", retry=RETRY),
    waits("w", 0.2),
    node("c", config={"expression": "steps.a.output"}),
    asks("d"),
    edges=[edge("a", "c"), edge("b", "c"), edge("w", "c"), edge("c", "d")],
)


def maps_it(inner: UUID) -> Json:
    """Return a graph that maps over a list with a workflow, and names each child by its parent and its item."""
    each = maps(inner, inputs={"name": "join('-', [inputs.name, item])"}, concurrency=2)
    return graph(each, node("last", config={"expression": "steps.each.output[].d"}), edges=[edge("each", "last")])


def format_answer(name: str, node_id: str = "d") -> str:
    """Return the answer of the model server to the prompt of a node."""
    return f"You said: {name} {node_id} "
