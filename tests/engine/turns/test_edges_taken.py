"""Edges taken after a completed step, and the error where a condition cannot be evaluated."""

import pytest
from msgspec import convert

from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import Graph
from engine.steps.run_data import RunData, decide_edges
from tests.support.graphs import edge, graph, node

BRANCHES = graph(
    node("title"),
    node("short"),
    node("long"),
    edges=[edge("title", "short"), edge("title", "long", when="inputs.number > 3")],
)


def test_a_condition_that_cannot_be_evaluated_is_named_by_where_its_edge_leads() -> None:
    compiled = compile_graph(convert(BRANCHES, type=Graph))
    assert decide_edges(compiled, "title", RunData({"number": 4}), Budget()) == (0, 1)
    with pytest.raises(ExpressionFault) as caught:
        decide_edges(compiled, "title", RunData({}), Budget())
    assert caught.value.message == "the condition of the edge to 'long' cannot be evaluated: CEL: 'number' is absent"
