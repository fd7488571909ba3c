"""Checks between the parts of a graph: ids, edges, cycles, fallbacks, and references between nodes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault, shorten
from domain.expressions.liquid_secrets import NOT_WHOLE, SECRETS
from domain.expressions.liquid_templates import Template
from domain.graphs.graph import Edge, Node, TakeFallback
from domain.graphs.topology import Ancestors, Successors, iterate_cycles, topological_order
from domain.graphs.validation.expressions import Expression, iterate_expressions
from domain.graphs.validation.shape import Fault
from domain.suggestions import format_names, suggest_name

Nodes = Mapping[int, Node]
Edges = Mapping[int, Edge]
"""By their index in the request; items that could not be read are omitted."""


class GraphLinks:
    """The first path of each node id, and the ancestors of each node."""

    def __init__(self, ids: Sequence[object], edges: Edges, input_schema: object = None) -> None:
        """Lay out the graph of those edges that lead from one existing node to another.

        The inputs are known where the schema of the inputs allows no others than it names.
        """
        self._inputs = _closed_inputs(input_schema)
        self.first = {name: index for index, name in reversed(list(enumerate(ids))) if isinstance(name, str)}
        self.successors = _successors(edges, self.first)
        order = topological_order(self.successors)
        is_acyclic = len(order) == len(self.successors)
        self._ancestors = Ancestors(self.successors, order) if is_acyclic else None

    def find_reference_faults(
        self, named: frozenset[str], seen_from: str, path: tuple[str | int, ...]
    ) -> Iterator[Fault]:
        """Return the names that an expression at a node must not use: of no node, or of one that is not before it."""
        for name in sorted(named):
            if name not in self.first:
                yield Fault(path, self.describe_missing(name))
            elif not self._may_come_before(name, seen_from):
                message = f"Node '{shorten(name)}' does not come before '{shorten(seen_from)}'; use only earlier nodes"
                yield Fault(path, message)

    def find_input_faults(self, named: frozenset[str], path: tuple[str | int, ...]) -> Iterator[Fault]:
        """Return the inputs that an expression names and that no run can have."""
        if self._inputs is not None:
            for name in sorted(named.difference(self._inputs)):
                known = format_names(self._inputs) + suggest_name(name, self._inputs)
                yield Fault(path, f"input_schema allows no input '{shorten(name)}'. It has: {known}")

    def describe_missing(self, name: str) -> str:
        """Return a message about an unknown node, with the closest known id."""
        return f"There is no node '{shorten(name)}'{suggest_name(name, self.first)}"

    def _may_come_before(self, name: str, seen_from: str) -> bool:
        """Return whether a node may come before another; True if unknown (a cyclic graph, or an unreadable id)."""
        return self._ancestors is None or seen_from not in self.first or self._ancestors.is_before(name, seen_from)


def _closed_inputs(schema: object) -> tuple[str, ...] | None:
    """Return the names of all possible inputs; None where the schema leaves them open, or leads elsewhere."""
    if not isinstance(schema, dict):
        return None
    sent = cast("dict[str, object]", schema)
    properties = sent.get("properties")
    is_plain = not sent.keys() & {"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if"}
    if sent.get("additionalProperties") is not False or not isinstance(properties, dict) or not is_plain:
        return None
    return tuple(cast("dict[str, object]", properties))


def _successors(edges: Edges, first: Mapping[str, int]) -> Successors:
    successors: dict[str, dict[str, None]] = {name: {} for name in sorted(first, key=first.__getitem__)}
    for edge in edges.values():
        if edge.source in first and edge.target in first and edge.source != edge.target:
            successors[edge.source][edge.target] = None
    return {name: list(targets) for name, targets in successors.items()}


def find_id_faults(ids: Sequence[object], places: GraphLinks) -> Iterator[Fault]:
    """Return the ids that are used twice."""
    for index, name in enumerate(ids):
        if isinstance(name, str) and places.first[name] != index:
            yield Fault(
                ("nodes", index, "id"),
                f"Ids must be unique: '{shorten(name)}' is also the id of node {places.first[name]}",
            )


def find_edge_faults(edges: Edges, places: GraphLinks) -> Iterator[Fault]:
    """Return the edges without a node at an end, duplicate edges, and edges that close a cycle."""
    first: dict[tuple[str, str], int] = {}
    for index, edge in edges.items():
        for field, name in (("from", edge.source), ("to", edge.target)):
            if name not in places.first:
                yield Fault(("edges", index, field), places.describe_missing(name))
        if edge.source == edge.target:
            yield Fault(("edges", index), f"An edge cannot lead from a node to itself: '{edge.source}'")
        before = first.setdefault((edge.source, edge.target), index)
        if before != index:
            yield Fault(("edges", index), f"Duplicate: connects the same nodes as edge {before}")
    for cycle in iterate_cycles(places.successors):
        closing = first[cycle[-1], cycle[0]]
        yield Fault(("edges", closing), f"Cycles are not allowed: {' → '.join((*cycle, cycle[0]))}")


def find_expression_faults(node: Node, places: GraphLinks) -> Iterator[Fault]:
    """Return the templates and queries of a node that cannot be compiled, or that use names they do not see."""
    for written in iterate_expressions(node):
        try:
            compiled = written.compile(written.source)
        except ExpressionFault as fault:
            yield Fault(written.path, fault.message)
        else:
            yield from _root_faults(compiled.roots, written)
            if SECRETS in written.sees and isinstance(compiled, Template) and compiled.parts_secrets:
                yield Fault(written.path, NOT_WHOLE)
            yield from places.find_reference_faults(compiled.nodes, node.id, written.path)
            yield from places.find_input_faults(compiled.inputs, written.path)


def _root_faults(roots: frozenset[str], written: Expression) -> Iterator[Fault]:
    for name in sorted(roots.difference(written.sees)):
        supported = f"{', '.join(written.sees)}{suggest_name(name, written.sees)}"
        yield Fault(written.path, f"Unknown name '{shorten(name)}'. Supported: {supported}")


def find_condition_faults(edges: Edges, places: GraphLinks) -> Iterator[Fault]:
    """Return the same problems of conditions, which also see the source node of their edge."""
    for index, edge in edges.items():
        if edge.when is None:
            continue
        try:
            condition = compile_condition(edge.when)
        except ExpressionFault as fault:
            yield Fault(("edges", index, "when"), fault.message)
        else:
            yield from places.find_reference_faults(
                condition.nodes - {edge.source}, edge.source, ("edges", index, "when")
            )
            yield from places.find_input_faults(condition.inputs, ("edges", index, "when"))


def find_fallback_faults(nodes: Nodes, edges: Edges, places: GraphLinks) -> Iterator[Fault]:
    """Return the fallbacks to an unknown node, without an edge, or whose edge has a condition."""
    conditions = {(edge.source, edge.target): edge.when for edge in edges.values()}
    for index, node in nodes.items():
        if not isinstance(node.on_error, TakeFallback):
            continue
        path, pair = ("nodes", index, "on_error", "to"), (node.id, node.on_error.to)
        if node.on_error.to not in places.first:
            yield Fault(path, places.describe_missing(node.on_error.to))
        elif pair not in conditions:
            yield Fault(
                path, f"A fallback needs an edge: there is no edge from '{shorten(node.id)}' to '{node.on_error.to}'"
            )
        elif conditions[pair] is not None:
            yield Fault(path, "The edge of a fallback must have no when: it is taken on failure only")
