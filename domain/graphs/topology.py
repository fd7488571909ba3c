"""Topology of a graph: topological order, ancestors, and cycles."""

from collections.abc import Collection, Iterator, Mapping, Sequence

Successors = Mapping[str, Sequence[str]]
"""The targets of each node's edges, by the node's id; every node is a key."""


def topological_order(successors: Successors) -> tuple[str, ...]:
    """Return the nodes in topological order (Kahn 1962). Nodes on or after a cycle are left out.

    Nodes that could come at the same time keep the order of the mapping.
    """
    waiting = dict.fromkeys(successors, 0)
    for targets in successors.values():
        for target in targets:
            waiting[target] += 1
    order = [node for node, count in waiting.items() if count == 0]
    for node in order:  # grows during the iteration
        for target in successors[node]:
            waiting[target] -= 1
            if waiting[target] == 0:
                order.append(target)
    return tuple(order)


def iterate_cycles(successors: Successors) -> Iterator[tuple[str, ...]]:
    """Yield disjoint cycles, each as its nodes in the direction of the edges, until the remaining nodes have none."""
    rest: dict[str, list[str]] = {node: list(targets) for node, targets in successors.items()}
    while len(order := topological_order(rest)) < len(rest):
        rest = _without(rest, order)
        cycle = _find_cycle(rest)
        yield cycle
        rest = _without(rest, cycle)


def _without(successors: Successors, gone: Collection[str]) -> dict[str, list[str]]:
    leaving = set(gone)
    return {
        node: [target for target in targets if target not in leaving]
        for node, targets in successors.items()
        if node not in leaving
    }


def _find_cycle(successors: Successors) -> tuple[str, ...]:
    """Follow edges backwards until a node repeats; each node here has a predecessor."""
    before = {target: node for node, targets in successors.items() for target in targets}
    walked: dict[str, None] = {}
    node = next(iter(successors))
    while node not in walked:
        walked[node] = None
        node = before[node]
    path = list(walked)
    return tuple(reversed(path[path.index(node) :]))


class Ancestors:
    """Ancestors of each node, as a bit set: 500 nodes need 500 integers of 500 bits."""

    __slots__ = ("_bits", "_masks")

    def __init__(self, successors: Successors, order: Sequence[str]) -> None:
        """Fold the masks along a topological order of all the nodes."""
        self._bits = {node: 1 << index for index, node in enumerate(order)}
        self._masks = dict.fromkeys(order, 0)
        for node in order:
            passed_on = self._masks[node] | self._bits[node]
            for target in successors[node]:
                self._masks[target] |= passed_on

    def is_before(self, earlier: str, later: str) -> bool:
        """Return whether there is a path from one node to another."""
        return bool(self._masks[later] & self._bits[earlier])
