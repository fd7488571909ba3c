"""Validation of a graph that a caller sent: all problems at once, each with a JSON pointer into the request."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, ClassVar, cast

import msgspec

from domain.graphs.graph import MOST_EDGES, MOST_NODES, Edge, Graph, Node
from domain.graphs.references import MOST_REFERENCES, iterate_references
from domain.graphs.stored import write_stored_graph
from domain.graphs.validation.json_schema import find_schema_faults, has_patterns
from domain.graphs.validation.links import (
    Edges,
    GraphLinks,
    Nodes,
    find_condition_faults,
    find_edge_faults,
    find_expression_faults,
    find_fallback_faults,
    find_id_faults,
)
from domain.graphs.validation.partial import convert_partial_node, is_artefact
from domain.graphs.validation.semantics import KnownReferences, find_node_faults
from domain.graphs.validation.shape import Fault, Faults, build_checker, format_pointer
from domain.json_bounds import is_within_bounds
from domain.refusal import Problem, Refusal, RefusalKind

MOST_PROBLEMS = 200
LARGEST_GRAPH_BYTES = 240_000
"""As it is stored, with every default. Room is left in a fact of 256 KB for the fields around the graph."""
QUICK_BYTES_MAX = 16_384
QUICK_TAGS_MAX = 100
DEEPEST_GRAPH = 40
MOST_VALUES = 50_000


class GraphUnacceptable(Refusal):
    """The graph is not valid; see the problems."""

    code: ClassVar[str] = "graph_unacceptable"
    kind: ClassVar[RefusalKind] = RefusalKind.UNACCEPTABLE


def check_graph(raw: object, known: KnownReferences) -> Graph:
    """Read a graph from JSON. Raises GraphUnacceptable with up to 200 problems, and nothing else, on any JSON value."""
    faults = tuple(_outer_faults(raw))
    if not faults:
        faults = tuple(islice(_inner_faults(cast("dict[str, Any]", raw), known), MOST_PROBLEMS))
    if faults:
        raise GraphUnacceptable(problems=tuple(Problem(format_pointer(fault.path), fault.message) for fault in faults))
    graph = msgspec.convert(raw, Graph)
    _check_stored_size(graph)
    return graph


def _check_stored_size(graph: Graph) -> None:
    """Raise GraphUnacceptable for a graph that its defaults make too large for a fact."""
    size = len(msgspec.json.encode(write_stored_graph(graph)))
    if size > LARGEST_GRAPH_BYTES:
        raise GraphUnacceptable(problems=(Problem("", _describe_size(size)),))


def _describe_size(size: int) -> str:
    return f"Expected at most {LARGEST_GRAPH_BYTES} bytes of JSON with all defaults, got {size}"


def is_quick_to_check(raw: object) -> bool:
    """Return whether checking a graph surely takes a few milliseconds at most, as most graphs do.

    Regular expressions, large templates and queries are compiled: a graph of 200 KB held the loop for seconds.
    """
    try:
        encoded = msgspec.json.encode(raw)
    except (ValueError, TypeError, OverflowError):
        return True  # it is refused for that
    tags = encoded.count(b"{{") + encoded.count(b"{%")
    return len(encoded) <= QUICK_BYTES_MAX and tags <= QUICK_TAGS_MAX and not has_patterns(raw)


def _outer_faults(raw: object) -> Iterator[Fault]:
    """Check the bounds before anything else: kind of value, depth, size, and the counts of nodes and edges."""
    if not isinstance(raw, dict):
        yield Fault((), "Expected `object`")
        return
    sent = cast("dict[str, Any]", raw)
    yield from _count_faults(sent, "nodes", MOST_NODES)
    yield from _count_faults(sent, "edges", MOST_EDGES)
    if sent.get("nodes") == []:
        yield Fault(("nodes",), "A graph needs at least one node")
    if is_within_bounds(sent, items_max=MOST_VALUES, length_max=MOST_VALUES, depth_max=DEEPEST_GRAPH):
        yield from _size_faults(sent)
    else:
        yield Fault((), f"Too deeply nested or too large. Limits: {DEEPEST_GRAPH} levels, {MOST_VALUES} values")


def _count_faults(sent: dict[str, Any], field: str, most: int) -> Iterator[Fault]:
    value: object = sent.get(field, [])
    if not isinstance(value, list):
        yield Fault((field,), "Expected `array`")
    elif len(cast("list[object]", value)) > most:
        yield Fault((field,), f"Expected at most {most} items, got {len(cast('list[object]', value))}")


def _size_faults(sent: dict[str, Any]) -> Iterator[Fault]:
    try:
        size = len(msgspec.json.encode(_drop_nulls(sent)))  # what is stored is not smaller
    except (ValueError, TypeError, OverflowError):
        yield Fault((), "Cannot be encoded as JSON in UTF-8: remove unpaired surrogates")
        return
    if size > LARGEST_GRAPH_BYTES:
        yield Fault((), _describe_size(size))


def _drop_nulls(value: object) -> object:
    """Return JSON data of bounded depth without fields that are null; a graph that we returned has many of them."""
    if isinstance(value, dict):
        sent = cast("dict[str, object]", value)
        return {name: _drop_nulls(item) for name, item in sent.items() if item is not None}
    return [_drop_nulls(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _inner_faults(sent: dict[str, Any], known: KnownReferences) -> Iterator[Fault]:
    raw_nodes: list[Any] = sent.get("nodes", [])
    raw_edges: list[Any] = sent.get("edges", [])
    empty: list[object] = []
    yield from build_checker(Graph)(sent | {field: empty for field in ("nodes", "edges") if field in sent})
    check_node, check_edge = build_checker(Node), build_checker(Edge)
    node_shapes = [check_node(node) for node in raw_nodes]
    edge_shapes = [check_edge(edge) for edge in raw_edges]
    nodes: Nodes = dict(_readable_nodes(raw_nodes, node_shapes))
    edges: Edges = dict(_readable_edges(raw_edges, edge_shapes))
    ids = [cast("dict[str, Any]", node).get("id") if isinstance(node, dict) else None for node in raw_nodes]
    places = GraphLinks(ids, edges, sent.get("input_schema"))
    yield from _input_schema_faults(sent.get("input_schema"))
    yield from find_id_faults(ids, places)
    for index, shape in enumerate(node_shapes):
        later = _later_faults(nodes[index], places, known) if index in nodes else ()
        for fault in chain(shape, (fault for fault in later if not is_artefact(fault, shape))):
            yield _under("nodes", index, fault)
    for index, shape in enumerate(edge_shapes):
        yield from (_under("edges", index, fault) for fault in shape)
    yield from _reference_faults(nodes.values())
    yield from find_edge_faults(edges, places)
    yield from find_condition_faults(edges, places)
    yield from find_fallback_faults(nodes, edges, places)


def _reference_faults(nodes: Iterable[Node]) -> Iterator[Fault]:
    named = {reference.text for node in nodes for reference in iterate_references(node)}
    if len(named) > MOST_REFERENCES:
        yield Fault((), f"Expected at most {MOST_REFERENCES} different assets and workflows, got {len(named)}")


def _input_schema_faults(schema: object) -> Iterator[Fault]:
    if isinstance(schema, dict):
        for fault in find_schema_faults(cast("dict[str, Any]", schema)):
            yield Fault(("input_schema", *fault.path), fault.message)


def _readable_nodes(raw_nodes: list[Any], shapes: list[Faults]) -> Iterator[tuple[int, Node]]:
    for index, (raw, shape) in enumerate(zip(raw_nodes, shapes, strict=True)):
        node: Node | None = convert_partial_node(raw, shape) if shape else msgspec.convert(raw, Node)
        if node is not None:
            yield index, node


def _readable_edges(raw_edges: list[Any], shapes: list[Faults]) -> Iterator[tuple[int, Edge]]:
    for index, (raw, shape) in enumerate(zip(raw_edges, shapes, strict=True)):
        if not shape:
            yield index, msgspec.convert(raw, Edge)
        elif not {fault.path[:1] for fault in shape} & {(), ("from",), ("to",)}:
            yield index, Edge(source=raw["from"], target=raw["to"])


def _later_faults(node: Node, places: GraphLinks, known: KnownReferences) -> Iterator[Fault]:
    yield from find_node_faults(node, known)
    yield from find_expression_faults(node, places)


def _under(field: str, index: int, fault: Fault) -> Fault:
    return Fault((field, index, *fault.path), fault.message)
