"""Compiled graphs: order, look-ups and conditions, on graphs made at random."""

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.expressions.cel import compile_condition
from domain.graphs.compiled import CompiledGraph, compile_graph
from domain.graphs.graph import Graph, get_node_kind
from domain.graphs.topology import Ancestors, iterate_cycles, topological_order
from domain.graphs.validation.check import GraphUnacceptable, check_graph
from domain.graphs.validation.semantics import KnownReferences

NOTHING = KnownReferences()
Pairs = set[tuple[int, int]]


def convert_graph(size: int, pairs: Pairs, when: str | None = None) -> dict[str, Any]:
    condition = {} if when is None else {"when": when}
    return {
        "nodes": [{"id": f"n{index}", "kind": "transform"} for index in range(size)],
        "edges": [{"from": f"n{source}", "to": f"n{target}", **condition} for source, target in sorted(pairs)],
    }


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[int, Pairs, list[int]]:
    """Draw edges that go forward along a drawn order of the nodes."""
    size = draw(st.integers(2, 25))
    order = draw(st.permutations(range(size)))
    places = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] < pair[1])
    forward = draw(st.sets(places, max_size=60))
    return size, {(order[source], order[target]) for source, target in forward}, list(order)


def compile_edges(raw: dict[str, Any]) -> CompiledGraph:
    return compile_graph(check_graph(raw, NOTHING))


@given(acyclic())
def test_every_node_comes_after_all_the_nodes_before_it(drawn: tuple[int, Pairs, list[int]]) -> None:
    size, pairs, _ = drawn
    ready = compile_edges(convert_graph(size, pairs))
    place = {name: index for index, name in enumerate(ready.order)}
    assert sorted(place) == sorted(ready.nodes)
    assert all(place[f"n{source}"] < place[f"n{target}"] for source, target in pairs)


@given(acyclic())
def test_look_ups_hold_every_edge_twice_and_every_node(drawn: tuple[int, Pairs, list[int]]) -> None:
    size, pairs, _ = drawn
    ready = compile_edges(convert_graph(size, pairs))
    assert list(ready.nodes) == list(ready.incoming) == list(ready.outgoing)
    assert {(edge.source, edge.target) for edges in ready.outgoing.values() for edge in edges} == {
        (f"n{source}", f"n{target}") for source, target in pairs
    }
    assert all(edge in ready.incoming[edge.target] and edge == ready.edges[edge.index] for edge in ready.edges)
    assert set(ready.entries) == {f"n{n}" for n in range(size) if not any(target == n for _, target in pairs)}
    assert set(ready.terminals) == {f"n{n}" for n in range(size) if not any(source == n for source, _ in pairs)}


@given(acyclic(), st.data())
def test_a_cycle_that_is_put_in_is_always_found_and_named(
    drawn: tuple[int, Pairs, list[int]], data: st.DataObject
) -> None:
    size, pairs, order = drawn
    ring = order[: data.draw(st.integers(2, size))]
    closed = pairs | set(zip(ring, [*ring[1:], ring[0]], strict=True))
    raw = convert_graph(size, closed)
    with pytest.raises(GraphUnacceptable) as caught:
        check_graph(raw, NOTHING)
    for problem in caught.value.problems:
        named = problem.message.removeprefix("Cycles are not allowed: ").split(" → ")
        assert named[0] == named[-1]
        steps = {(int(a[1:]), int(b[1:])) for a, b in pairwise(named)}
        assert steps <= closed


@given(acyclic())
def test_ancestors_are_the_nodes_that_lead_to_a_node(drawn: tuple[int, Pairs, list[int]]) -> None:
    size, pairs, _ = drawn
    successors = {str(n): [str(target) for source, target in pairs if source == n] for n in range(size)}
    ancestors = Ancestors(successors, topological_order(successors))
    for start, targets in successors.items():
        reached: set[str] = set()
        waiting = list(targets)
        while waiting:
            name = waiting.pop()
            waiting.extend(successors[name] if name not in reached else ())
            reached.add(name)
        assert {name for name in successors if ancestors.is_before(start, name)} == reached


def test_separate_cycles_are_each_found() -> None:
    found = list(iterate_cycles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["e"], "e": ["c", "f"], "f": []}))
    assert sorted(map(sorted, found)) == [["a", "b"], ["c", "d", "e"]]


def test_conditions_are_compiled_and_fallback_edges_are_marked() -> None:
    raw = convert_graph(3, {(0, 1), (0, 2)})
    raw["nodes"][0]["on_error"] = {"action": "fallback", "to": "n2"}
    raw["edges"][0]["when"] = "steps.n0.output == inputs.expected"
    onward, fallback = compile_edges(raw).outgoing["n0"]
    assert onward.when is not None
    assert compile_condition(onward.when).holds({"expected": 1}, {"n0": {"output": 1}})
    assert not onward.on_failure
    assert fallback.on_failure
    assert fallback.when is None


def test_a_node_says_its_kind() -> None:
    ready = compile_edges(convert_graph(1, set()))
    assert get_node_kind(ready.nodes["n0"]) == "transform"


def test_the_largest_graph_is_judged_and_compiled_quickly() -> None:
    pairs = {(source, source + step) for step in range(1, 6) for source in range(500 - step)}
    largest = set(sorted(pairs)[:2_000])
    raw = convert_graph(500, largest, when="inputs.n == 1")
    seconds = min(_seconds_to_check(raw) for _ in range(3))
    # Far below in practice (0.05 s); the bound leaves room for a busy machine, and still catches what is quadratic.
    assert seconds < 0.5


def _seconds_to_check(raw: dict[str, Any]) -> float:
    started = time.process_time()
    graph: Graph = check_graph(raw, NOTHING)
    compile_graph(graph)
    return time.process_time() - started
