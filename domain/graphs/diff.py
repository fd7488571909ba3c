"""Changes that a newer graph makes to the completed part of a run; a retry on that graph must not rewrite history."""

from collections.abc import Collection, Mapping, Sequence

from domain.graphs.graph import Edge, Graph, Node
from domain.refusal import Problem

EdgeKey = tuple[str, str, str | None]
"""An edge as (from, to, when)."""


def find_conflicts(old: Graph, new: Graph, kept: Collection[str]) -> tuple[Problem, ...]:
    """Return the differences in the kept part of a graph: in the nodes themselves, and in the edges that touch them.

    Edges into kept nodes count, for they led there, and edges out of them, for they have been decided. A node's name
    and its policies for errors and time are free to change. Pointers are into the newer graph, or to a whole list
    where something is gone.
    """
    return (*_node_changes(old, new, kept), *_edge_changes(old, new, kept))


def translate_edges(old: Graph, new: Graph, taken: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the places in a newer graph of edges that were taken in an older one; `changes` must have found none."""
    places = {_edge_key(edge): index for index, edge in enumerate(new.edges)}
    return {node: tuple(places[_edge_key(old.edges[index])] for index in indexes) for node, indexes in taken.items()}


def is_step_unchanged(old: Graph, new: Graph, node: str) -> bool:
    """Return whether a node has the same config in a newer graph, and the same incoming edges."""
    before = next((found for found in old.nodes if found.id == node), None)
    after = next((found for found in new.nodes if found.id == node), None)
    if before is None or after is None or not _has_same_config(before, after):
        return False
    return _incoming_keys(old, node) == _incoming_keys(new, node)


def find_downstream(graph: Graph, nodes: Collection[str]) -> frozenset[str]:
    """Return these nodes and all of their descendants."""
    onward: dict[str, list[str]] = {}
    for edge in graph.edges:
        onward.setdefault(edge.source, []).append(edge.target)
    found: set[str] = set()
    open_nodes = list(nodes)
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes.extend(onward.get(node, ()))
    return frozenset(found)


def _node_changes(old: Graph, new: Graph, kept: Collection[str]) -> list[Problem]:
    before = {node.id: node for node in old.nodes}
    after = {node.id: (index, node) for index, node in enumerate(new.nodes)}
    problems: list[Problem] = []
    for name in kept:
        if name not in after:
            problems.append(Problem("/nodes", f"The step '{name}' is completed, but the newest graph does not have it"))
        elif not _has_same_config(before[name], after[name][1]):
            said = f"The step '{name}' is completed, but its config differs in the newest graph"
            problems.append(Problem(f"/nodes/{after[name][0]}", said))
    return problems


def _has_same_config(old: Node, new: Node) -> bool:
    return type(old) is type(new) and old.config == new.config


def _edge_changes(old: Graph, new: Graph, kept: Collection[str]) -> list[Problem]:
    before = {_edge_key(edge) for edge in old.edges if _touches(edge, kept)}
    after = {_edge_key(edge): index for index, edge in enumerate(new.edges) if _touches(edge, kept)}
    added = [
        Problem(f"/edges/{index}", f"The edge {_describe_edge(way)} of a completed step is new in the newest graph")
        for way, index in after.items()
        if way not in before
    ]
    gone = [
        Problem("/edges", f"The edge {_describe_edge(way)} of a completed step is missing in the newest graph")
        for way in sorted(before - after.keys(), key=str)
    ]
    return [*added, *gone]


def _touches(edge: Edge, kept: Collection[str]) -> bool:
    return edge.source in kept or edge.target in kept


def _incoming_keys(graph: Graph, node: str) -> set[EdgeKey]:
    return {_edge_key(edge) for edge in graph.edges if edge.target == node}


def _edge_key(edge: Edge) -> EdgeKey:
    return edge.source, edge.target, edge.when


def _describe_edge(way: EdgeKey) -> str:
    source, target, when = way
    return f"from '{source}' to '{target}'" + (f" when {when}" if when is not None else "")
