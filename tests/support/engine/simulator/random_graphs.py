"""Random acyclic graphs of every kind of step, with the behaviour of each step."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

import msgspec

from domain.graphs.compiled import CompiledGraph, compile_graph
from domain.graphs.graph import ErrorClass, Graph
from tests.support.graphs import CHILD, Json, edge, human, node

RETRIED = ErrorClass.OVERLOADED
NOT_RETRIED = ErrorClass.BAD_REQUEST
NO_TIME = "the first of May"
DEEPEST = 2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Behaviour of a step: it fails `fails` times (for ever, if None), and then returns its output.

    For a human step the output is the outcome that is chosen, None if nobody ever decides, and `takes` are the
    seconds that a person needs; for all others those of one attempt. `asks_to_wait` is the retry-after of a failure.
    A step that `heals` succeeds once the run is retried. `items` are the graph cases of its children.
    """

    output: int | str | None
    fails: int | None = 0
    error_class: ErrorClass = RETRIED
    takes: int = 0
    asks_to_wait: int = 0
    heals: bool = False
    items: tuple["GraphCase", ...] = ()


@dataclass(frozen=True)
class GraphCase:
    """A graph, the inputs of its run, and the behaviour of its steps.

    `within` are the cases of the workflows that its steps run; each item has the graph of one, and other behaviours.
    """

    raw: Json
    inputs: Json
    behaviours: dict[str, Behaviour]
    within: dict[str, "GraphCase"] = field(default_factory=dict[str, "GraphCase"])

    @cached_property
    def graph(self) -> Graph:
        return msgspec.convert(self.raw, Graph)

    @cached_property
    def compiled_graph(self) -> CompiledGraph:
        return compile_graph(self.graph)

    def heal(self) -> "GraphCase":
        """Return the graph case in which the faults that can heal have healed."""
        return replace(
            self, behaviours={name: _heal_behaviour(behaviour) for name, behaviour in self.behaviours.items()}
        )


def _heal_behaviour(behaviour: Behaviour) -> Behaviour:
    items = tuple(item.heal() for item in behaviour.items)
    return replace(behaviour, fails=0, heals=False, items=items) if behaviour.heals else replace(behaviour, items=items)


def draw_graph_case(seed: int, *, timed: bool = False) -> GraphCase:
    """Draw a graph case; small seeds draw small graphs, so that the first that fails is a small one.

    With `timed`, total timeouts cut some steps short, so that the duration of each attempt matters.
    """
    random = Random(seed)  # noqa: S311  # the same seed gives the same graph
    return _draw_graph_case(random, 1 + min(seed // 40, 9) + random.randrange(3), timed=timed, depth=0)


def _draw_graph_case(random: Random, size: int, *, timed: bool, depth: int) -> GraphCase:
    names = [f"n{index}" for index in range(size)]
    nodes: dict[str, Json] = {name: draw_node(random, name, depth) for name in names}
    edges = [
        (source, target)
        for index, target in enumerate(names)
        for source in names[:index]
        if random.random() < 1.6 / max(index, 1)
    ]
    raw_edges = [edge(source, target) for source, target in edges]
    for raw_edge in raw_edges:
        raw_edge.update(draw_condition(random, nodes[raw_edge["from"]], raw_edges))
    for name in names:
        _draw_policy(random, nodes[name], [raw_edge for raw_edge in raw_edges if raw_edge["from"] == name])
    parents = [name for name in names if nodes[name]["kind"] in ("map", "workflow")]
    within = {name: _draw_graph_case(random, random.randint(1, 3), timed=timed, depth=depth + 1) for name in parents}
    behaviours = {name: draw_behaviour(random, nodes[name], within.get(name), timed=timed) for name in names}
    raw: Json = {"nodes": list(nodes.values()), "edges": raw_edges}
    random.shuffle(raw["nodes"])
    return GraphCase(raw=raw, inputs={"n": random.randrange(10)}, behaviours=behaviours, within=within)


def draw_node(random: Random, name: str, depth: int = DEEPEST) -> Json:
    """Draw a node of some kind, those with children only where these may have some themselves."""
    made = _draw_kind(random, name, depth)
    if random.random() < 0.6:
        others = ["child_failed", "deadline", "expression", "timeout"]
        retry_on = ["overloaded", *random.sample(others, random.randrange(4))]
        backoff = {"initial_seconds": random.choice([0, 1, 8]), "jitter": 0}
        made["retry"] = {"max_attempts": random.randint(1, 3), "retry_on": retry_on, "backoff": backoff}
    return made


def _draw_kind(random: Random, name: str, depth: int) -> Json:
    drawn = random.random() if depth < DEEPEST else random.random() * 0.8
    # Longer than all that is below it can take, unless that waits for ever.
    bound = {"timeout_seconds": 10_000 if depth else 1_000_000} if random.random() < 0.4 else {}
    if drawn < 0.52:
        return node(name)
    if drawn < 0.70:
        return _draw_human(random, name)
    if drawn < 0.80:
        until = {"until": NO_TIME} if random.random() < 0.15 else {"seconds": random.randint(1, 20)}
        return node(name, kind="delay", config=until)
    if drawn < 0.91:
        lenient = {"on_item_failure": "continue", "most_failed_items": random.randrange(3)}
        config = {"workflow_id": CHILD, "items": "inputs.list", "concurrency": random.randint(1, 3)}
        return node(name, kind="map", config={**config, **(lenient if random.random() < 0.5 else {})}, **bound)
    return node(name, kind="workflow", config={"workflow_id": CHILD}, **bound)


def _draw_human(random: Random, name: str) -> Json:
    if random.random() < 0.5:
        return {**human(), "id": name}
    then = random.choice([{"action": "fail"}, {"action": "decide", "outcome": random.choice(["approve", "reject"])}])
    return {**human(deadline={"after_seconds": random.randrange(4, 24, 2), "then": then}), "id": name}


def draw_condition(random: Random, source: Json, edges: list[Json]) -> dict[str, Any]:
    """Draw what an edge out of a node asks: about the inputs, that node, or one before it; often nothing."""
    name, drawn = source["id"], random.random()
    before = sorted(find_ancestors(name, edges))
    if drawn < 0.4:
        return {}
    if drawn < 0.5:
        return {"when": f"inputs.n > {random.randrange(10)}"}
    if drawn < 0.6 and before:
        return {"when": f"has(steps.{random.choice(before)}.output)"}
    if drawn < 0.62:
        return {"when": f"steps.{name}.output.nope.nope == 1"}  # cannot be evaluated
    match source["kind"]:
        case "human":
            return {"when": f"steps.{name}.output.outcome == '{random.choice(['approve', 'reject'])}'"}
        case "map":
            return {"when": f"size(steps.{name}.output) > {random.randrange(4)}"}
        case "workflow":
            return {"when": f"has(steps.{name}.output.n{random.randrange(3)})"}
        case "delay":
            return {"when": f"inputs.n > {random.randrange(10)}"}
        case _:
            return {"when": f"steps.{name}.output > {random.randrange(10)}"}


def find_ancestors(name: str, edges: list[Json]) -> set[str]:
    """Return the nodes that come before a node."""
    found: set[str] = set()
    while more := {raw_edge["from"] for raw_edge in edges if raw_edge["to"] in {name, *found}} - found:
        found |= more
    return found


DEFAULTS: dict[str, Any] = {"human": {"outcome": "approve"}, "map": ["none"], "workflow": {"n0": 1}, "delay": {}}


def _draw_policy(random: Random, made: Json, outgoing: list[Json]) -> None:
    drawn = random.random()
    if drawn < 0.4:
        made["on_error"] = {"action": "continue", "output": DEFAULTS.get(made["kind"], random.randrange(10))}
    elif drawn < 0.75 and outgoing:
        fallback = random.choice(outgoing)
        fallback.pop("when", None)
        made["on_error"] = {"action": "fallback", "to": fallback["to"]}


def draw_behaviour(random: Random, made: Json, within: GraphCase | None = None, *, timed: bool = False) -> Behaviour:
    """Draw what a node is going to do. A person's time is odd, a deadline even: they never come at once."""
    match made["kind"]:
        case "human":
            return Behaviour(random.choice(["approve", "reject", "approve", None]), takes=random.randrange(1, 30, 2))
        case "delay":
            return Behaviour(0)
        case "map" | "workflow":
            assert within is not None
            count = random.randrange(5) if made["kind"] == "map" else 1
            return Behaviour(0, items=tuple(_redraw_case(random, within, timed=timed) for _ in range(count)))
        case _:
            return _draw_work(random, made, timed=timed)


def _redraw_case(random: Random, template: GraphCase, *, timed: bool) -> GraphCase:
    """Draw another run of the same graph."""
    nodes = sorted(template.raw["nodes"], key=lambda raw_node: raw_node["id"])
    behaviours = {
        raw_node["id"]: draw_behaviour(random, raw_node, template.within.get(raw_node["id"]), timed=timed)
        for raw_node in nodes
    }
    return replace(template, inputs={"n": random.randrange(10)}, behaviours=behaviours)


def _draw_work(random: Random, made: Json, *, timed: bool) -> Behaviour:
    output, drawn, takes = random.randrange(10), random.random(), random.choice([0, 0, 1, 2, 5])
    if timed and random.random() < 0.5:
        made["total_timeout_seconds"] = random.randrange(12) + 0.5
    asks_to_wait = random.choice([0, 0, 0, 3])
    if drawn < 0.72:
        return Behaviour(output, takes=takes)
    if drawn < 0.86 and "retry" in made:
        # Perhaps at its last attempt: one that is lost with its owner does not count, and must not decide the outcome.
        made["retry"]["max_attempts"] = 3
        return Behaviour(output, random.randint(1, 2), takes=takes, asks_to_wait=asks_to_wait)
    error_class, heals = random.choice([RETRIED, NOT_RETRIED]), random.random() < 0.6
    return Behaviour(output, None, error_class, takes, asks_to_wait, heals)
