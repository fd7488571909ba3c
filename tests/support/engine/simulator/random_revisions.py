"""Newer versions of random graphs: some change what a run has done already, and some only what is still to come."""

import copy
import re
from collections.abc import Callable, Collection
from random import Random

from tests.support.engine.simulator.random_graphs import (
    Behaviour,
    Plot,
    ancestors,
    drawn_behaviour,
    drawn_condition,
    drawn_node,
)
from tests.support.graphs import Json, edge

Change = Callable[["Revision", list[str]], None]


class Revision:
    """A graph while it is being changed; `order` has every node after all before it."""

    def __init__(self, plot: Plot, random: Random) -> None:
        """Begin with the graph as it is."""
        self.random = random
        self.nodes: dict[str, Json] = {one["id"]: copy.deepcopy(one) for one in plot.raw["nodes"]}
        self.edges: list[Json] = copy.deepcopy(plot.raw["edges"])
        self.behaviours: dict[str, Behaviour] = dict(plot.behaviours)
        self.order = sorted(self.nodes, key=lambda name: (len(ancestors(name, self.edges)), name))

    def add_node(self, free: list[str]) -> None:
        name = f"m{self.random.randrange(10**9)}"  # a name that no node ever had
        place = self.random.randint(0, len(self.order))
        self.nodes[name] = drawn_node(self.random, name)
        self.behaviours[name] = drawn_behaviour(self.random, self.nodes[name])
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
            self.edges = [one for one in self.edges if name not in (one["from"], one["to"])]

    def change_node(self, free: list[str]) -> None:
        name = self.random.choice(free)
        old, new = self.nodes[name], drawn_node(self.random, name)
        if old["kind"] == "transform" and self.random.random() < 0.5:
            old["config"] = {"expression": f"inputs.n{self.random.randrange(2)}"}  # played alike, and yet another step
            return
        if (old["kind"], old.get("config")) != (new["kind"], new.get("config")):
            self.nodes[name] = new
            self.behaviours[name] = drawn_behaviour(self.random, new)

    def change_policy(self, _free: list[str]) -> None:
        """Change what may be changed of whatever is done."""
        one = self.nodes[self.random.choice(self.order)]
        one["name"] = "Another name"
        one.pop("on_error", None)

    def add_edge(self, free: list[str]) -> None:
        pair = sorted(self.random.sample(free, min(2, len(free))), key=self.order.index)
        there = {(one["from"], one["to"]) for one in self.edges}
        if len(pair) == 2 and (pair[0], pair[1]) not in there:
            self.edges.append(edge(*pair))

    def drop_edge(self, free: list[str]) -> None:
        among = [one for one in self.edges if {one["from"], one["to"]} <= set(free)]
        if among:
            self.edges.remove(self.random.choice(among))

    def change_condition(self, free: list[str]) -> None:
        among = [one for one in self.edges if {one["from"], one["to"]} <= set(free)]
        if among:
            one = self.random.choice(among)
            one.pop("when", None)
            one.update(drawn_condition(self.random, self.nodes[one["from"]], self.edges))

    def mend(self) -> None:
        """Take out what no graph may say: of edges that are gone, and of steps that no longer come before."""
        for name, made in self.nodes.items():
            to = made.get("on_error", {}).get("to")
            ways = [one for one in self.edges if (one["from"], one["to"]) == (name, to)]
            if to is not None and not ways:
                del made["on_error"]
            for one in ways:
                one.pop("when", None)
        for one in self.edges:
            if "when" in one and not self._may_ask(one):
                del one["when"]

    def _may_ask(self, one: Json) -> bool:
        when, source = one["when"], one["from"]
        named = re.findall(r"steps\.(\w+)\.output", when)
        if any(name != source and name not in ancestors(source, self.edges) for name in named):
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


def revised(plot: Plot, done: Collection[str], random: Random) -> Plot:
    """Give a newer version, in another order; most leave alone what is done."""
    revision = Revision(plot, random)
    careful = random.random() < 0.7
    for change in random.choices(CHANGES, k=random.randint(1, 3)):
        free = [name for name in revision.order if not careful or name not in done]
        if free:
            change(revision, free)
    revision.mend()
    nodes, edges = list(revision.nodes.values()), revision.edges
    random.shuffle(nodes)
    random.shuffle(edges)
    raw = {"nodes": nodes, "edges": edges}
    return Plot(raw=raw, inputs=plot.inputs, behaviours=revision.behaviours, within=plot.within)
