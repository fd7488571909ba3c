"""Changes that a newer graph may make to a run: only to steps that are not done."""

from domain.graphs.diff import find_conflicts, find_downstream, translate_edges
from domain.graphs.graph import Graph
from domain.graphs.validation.check import check_graph
from tests.support.graphs import KNOWN, Json, edge, graph, node


def check(raw: Json) -> Graph:
    return check_graph(raw, KNOWN)


OLD = check(
    graph(node("a"), node("b"), node("c"), edges=[edge("a", "b", when="inputs.x"), edge("b", "c"), edge("a", "c")])
)


def pointers(new: Json, *kept: str) -> list[str]:
    return [problem.pointer for problem in find_conflicts(OLD, check(new), kept)]


def test_an_equal_graph_changes_nothing() -> None:
    assert find_conflicts(OLD, OLD, ("a", "b", "c")) == ()


def test_what_is_not_done_may_change() -> None:
    new = graph(
        node("d"), node("a"), node("b"), node("c", config={"expression": "inputs"}),
        edges=[edge("d", "c"), edge("a", "c"), edge("b", "c"), edge("a", "b", when="inputs.x")],
    )  # fmt: skip
    assert pointers(new, "a", "b") == []
    assert translate_edges(OLD, check(new), {"a": (0, 2), "b": (1,)}) == {"a": (3, 1), "b": (2,)}


def test_names_and_policies_of_done_steps_may_change() -> None:
    new = graph(
        node("a", name="First", timeout_seconds=5), node("b"), node("c"),
        edges=[edge("a", "b", when="inputs.x"), edge("b", "c"), edge("a", "c")],
    )  # fmt: skip
    assert pointers(new, "a") == []


def test_each_done_step_that_differs_is_told() -> None:
    new = graph(node("c"), node("b", config={"expression": "inputs"}), edges=[edge("b", "c")])
    assert pointers(new, "a", "b") == ["/nodes", "/nodes/1", "/edges", "/edges"]


def test_edges_into_and_out_of_done_steps_stay() -> None:
    new = graph(
        node("a"), node("b"), node("c"), node("d"),
        edges=[edge("a", "b", when="inputs.y"), edge("b", "c"), edge("a", "c"), edge("d", "a")],
    )  # fmt: skip
    assert pointers(new, "a") == ["/edges/0", "/edges/3", "/edges"]


def test_behind_a_step_is_all_that_it_leads_to() -> None:
    assert find_downstream(OLD, {"b"}) == {"b", "c"}
    assert find_downstream(OLD, {"a"}) == {"a", "b", "c"}
    assert find_downstream(OLD, {"new"}) == {"new"}
