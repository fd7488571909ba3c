"""Edges taken after a completed step, and the error where a condition cannot be evaluated."""

import pytest
from msgspec import convert

from domain.expressions.budget import Budget, TooMuchWork
from domain.expressions.cel import charge_compiling
from domain.expressions.common import ExpressionFault
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import Graph
from engine.steps.run_data import ConditionsTooSlow, RunData, decide_edges
from engine.turns.turn_builder import CONDITIONS_WORK_MAX
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


def test_conditions_are_compiled_when_they_are_evaluated_and_many_of_them_leave_the_event_loop() -> None:
    targets = [f"n{number}" for number in range(40)]
    conditions = [f"inputs.number > {number} && inputs.number < 1{number}0" for number in range(40)]
    edges = [edge("first", target, when=when) for target, when in zip(targets, conditions, strict=True)]
    raw = graph(node("first"), *(node(target) for target in targets), edges=edges)
    compiled = compile_graph(convert(raw, type=Graph))
    with pytest.raises(TooMuchWork):
        charge_compiling(conditions[0], Budget(1))
    with pytest.raises(ConditionsTooSlow) as slow:
        decide_edges(compiled, "first", RunData({"number": 30}), Budget(CONDITIONS_WORK_MAX))
    with pytest.raises(TooMuchWork):
        charge_compiling(conditions[-1], Budget(1))
    assert slow.value.work() == decide_edges(compiled, "first", RunData({"number": 30}), Budget())
