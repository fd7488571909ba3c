"""Newer versions of random graphs: some change completed steps of a run, and some only those still to come."""

import copy
import re
from collections.abc import Callable, Collection
from random import Random

from tests.support.engine.simulator.random_graphs import (
    Behaviour,
    GraphCase,
    draw_behaviour,
    draw_condition,
    draw_node,
    find_ancestors,
)
from tests.support.graphs import Json, edge

Change = Callable[["Revision", list[str]], None]


class Revision:
    """A graph while it is being changed; `order` has every node after all before it."""

    def __init__(self, graph_case: GraphCase, random: Random) -> None:
        """Begin with the graph as it is."""
        self.random = random
        self.nodes: dict[str, Json] = {raw_node["id"]: copy.deepcopy(raw_node) for raw_node in graph_case.raw["nodes"]}
        self.edges: list[Json] = copy.deepcopy(graph_case.raw["edges"])
        self.behaviours: dict[str, Behaviour] = dict(graph_case.behaviours)
        self.order = sorted(self.nodes, key=lambda name: (len(find_ancestors(name, self.edges)), name))

    def add_node(self, free: list[str]) -> None:
        name = f"m{self.random.randrange(10**9)}"  # a name that no node ever had
        place = self.random.randint(0, len(self.order))
        self.nodes[name] = draw_node(self.random, name)
        self.behaviours[name] = draw_behaviour(self.random, self.nodes[name])
        for other in free:
            at = self.order.index(other)
            if self.random.random() < 0.4:
                self.edges.append(edge(other, name) if at < place else edge(name, other))
        self.order.insert(place, name)

    def drop_node(self, free: list[str]) -> None:
        name = self.random.choice(free)
        if len(self.nodes) > 1:
            del self.nodes[name], self.behaviours[name]
            self.order.remove(name)
            self.edges = [raw_edge for raw_edge in self.edges if name not in (raw_edge["from"], raw_edge["to"])]

    def change_node(self, free: list[str]) -> None:
        name = self.random.choice(free)
        old, new = self.nodes[name], draw_node(self.random, name)
        if old["kind"] == "transform" and self.random.random() < 0.5:
            old["config"] = {"expression": f"inputs.n{self.random.randrange(2)}"}  # played alike, and yet another step
            return
        if (old["kind"], old.get("config")) != (new["kind"], new.get("config")):
            self.nodes[name] = new
            self.behaviours[name] = draw_behaviour(self.random, new)

    def change_policy(self, _free: list[str]) -> None:
        """Change fields that may change even in completed steps."""
        raw_node = self.nodes[self.random.choice(self.order)]
        raw_node["name"] = "Another name"
        raw_node.pop("on_error", None)

    def add_edge(self, free: list[str]) -> None:
        pair = sorted(self.random.sample(free, min(2, len(free))), key=self.order.index)
        there = {(raw_edge["from"], raw_edge["to"]) for raw_edge in self.edges}
        if len(pair) == 2 and (pair[0], pair[1]) not in there:
            self.edges.append(edge(*pair))

    def drop_edge(self, free: list[str]) -> None:
        among = [raw_edge for raw_edge in self.edges if {raw_edge["from"], raw_edge["to"]} <= set(free)]
        if among:
            self.edges.remove(self.random.choice(among))

    def change_condition(self, free: list[str]) -> None:
        among = [raw_edge for raw_edge in self.edges if {raw_edge["from"], raw_edge["to"]} <= set(free)]
        if among:
            raw_edge = self.random.choice(among)
            raw_edge.pop("when", None)
            raw_edge.update(draw_condition(self.random, self.nodes[raw_edge["from"]], self.edges))

    def remove_invalid(self) -> None:
        """Remove references to edges that are gone, and to steps that no longer come before."""
        for name, made in self.nodes.items():
            to = made.get("on_error", {}).get("to")
            ways = [raw_edge for raw_edge in self.edges if (raw_edge["from"], raw_edge["to"]) == (name, to)]
            if to is not None and not ways:
                del made["on_error"]
            for raw_edge in ways:
                raw_edge.pop("when", None)
        for raw_edge in self.edges:
            if "when" in raw_edge and not self._may_ask(raw_edge):
                del raw_edge["when"]

    def _may_ask(self, raw_edge: Json) -> bool:
        when, source = raw_edge["when"], raw_edge["from"]
        named = re.findall(r"steps\.(\w+)\.output", when)
        if any(name != source and name not in find_ancestors(source, self.edges) for name in named):
            return False
        asks_about = {"outcome": "human", "size(": "map", ".output.n": "workflow", ".output >": "transform"}
        kinds = [kind for what, kind in asks_about.items() if what in when and "nope" not in when]
        return source not in named or not kinds or self.nodes[source]["kind"] == kinds[0]


CHANGES: tuple[Change, ...] = (
    Revision.add_node,
    Revision.add_node,
    Revision.drop_node,
    Revision.change_node,
    Revision.change_policy,
    Revision.add_edge,
    Revision.drop_edge,
    Revision.change_condition,
)


def revise_case(graph_case: GraphCase, done: Collection[str], random: Random) -> GraphCase:
    """Return a newer version, in another order; most do not change steps that are done."""
    revision = Revision(graph_case, random)
    careful = random.random() < 0.7
    for change in random.choices(CHANGES, k=random.randint(1, 3)):
        free = [name for name in revision.order if not careful or name not in done]
        if free:
            change(revision, free)
    revision.remove_invalid()
    nodes, edges = list(revision.nodes.values()), revision.edges
    random.shuffle(nodes)
    random.shuffle(edges)
    raw = {"nodes": nodes, "edges": edges}
    return GraphCase(raw=raw, inputs=graph_case.inputs, behaviours=revision.behaviours, within=graph_case.within)
