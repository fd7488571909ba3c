"""Random acyclic graphs of every kind of step, and what each of their steps is going to do."""

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
    """What a step does: fails so often (for ever, where `fails` is None), and then gives its output.

    For a human step the output is the outcome that is chosen, None when nobody ever decides, and `takes` are the
    seconds that a person needs; for all others those of one attempt. `asks_to_wait` is what the other side says with
    a failure. A step that `heals` works once the run is retried. `items` is what each child of a step will do.
    """

    output: int | str | None
    fails: int | None = 0
    error_class: ErrorClass = RETRIED
    takes: int = 0
    asks_to_wait: int = 0
    heals: bool = False
    items: tuple["Plot", ...] = ()


@dataclass(frozen=True)
class Plot:
    """A graph, what its run starts with, and what its steps will do.

    `within` are the plots of the workflows that its steps run; each item has the graph of one, and does something else.
    """

    raw: Json
    inputs: Json
    behaviours: dict[str, Behaviour]
    within: dict[str, "Plot"] = field(default_factory=dict[str, "Plot"])

    @cached_property
    def graph(self) -> Graph:
        return msgspec.convert(self.raw, Graph)

    @cached_property
    def compiled(self) -> CompiledGraph:
        return compile_graph(self.graph)

    def healed(self) -> "Plot":
        """Give what will be done once somebody has mended what could be mended."""
        return replace(self, behaviours={name: _healed(one) for name, one in self.behaviours.items()})


def _healed(one: Behaviour) -> Behaviour:
    items = tuple(item.healed() for item in one.items)
    return replace(one, fails=0, heals=False, items=items) if one.heals else replace(one, items=items)


def plot(seed: int, *, timed: bool = False) -> Plot:
    """Make a plot; small seeds make small graphs, so that the first that fails is a small one.

    In a timed one total timeouts cut some steps short, so that it matters how long each attempt takes.
    """
    random = Random(seed)  # noqa: S311  # the same seed gives the same graph
    return _plot(random, 1 + min(seed // 40, 9) + random.randrange(3), timed=timed, depth=0)


def _plot(random: Random, size: int, *, timed: bool, depth: int) -> Plot:
    names = [f"n{index}" for index in range(size)]
    nodes: dict[str, Json] = {name: drawn_node(random, name, depth) for name in names}
    edges = [
        (source, target)
        for index, target in enumerate(names)
        for source in names[:index]
        if random.random() < 1.6 / max(index, 1)
    ]
    raw_edges = [edge(source, target) for source, target in edges]
    for one in raw_edges:
        one.update(drawn_condition(random, nodes[one["from"]], raw_edges))
    for name in names:
        _give_policy(random, nodes[name], [one for one in raw_edges if one["from"] == name])
    parents = [name for name in names if nodes[name]["kind"] in ("map", "workflow")]
    within = {name: _plot(random, random.randint(1, 3), timed=timed, depth=depth + 1) for name in parents}
    behaviours = {name: drawn_behaviour(random, nodes[name], within.get(name), timed=timed) for name in names}
    raw: Json = {"nodes": list(nodes.values()), "edges": raw_edges}
    random.shuffle(raw["nodes"])
    return Plot(raw=raw, inputs={"n": random.randrange(10)}, behaviours=behaviours, within=within)


def drawn_node(random: Random, name: str, depth: int = DEEPEST) -> Json:
    """Draw a node of some kind, those with children only where these may have some themselves."""
    made = _drawn_kind(random, name, depth)
    if random.random() < 0.6:
        others = ["child_failed", "deadline", "expression", "timeout"]
        retry_on = ["overloaded", *random.sample(others, random.randrange(4))]
        backoff = {"initial_seconds": random.choice([0, 1, 8]), "jitter": 0}
        made["retry"] = {"max_attempts": random.randint(1, 3), "retry_on": retry_on, "backoff": backoff}
    return made


def _drawn_kind(random: Random, name: str, depth: int) -> Json:
    drawn = random.random() if depth < DEEPEST else random.random() * 0.8
    # Longer than all that is below it can take, unless that waits for ever.
    bound = {"timeout_seconds": 10_000 if depth else 1_000_000} if random.random() < 0.4 else {}
    if drawn < 0.52:
        return node(name)
    if drawn < 0.70:
        return _drawn_human(random, name)
    if drawn < 0.80:
        until = {"until": NO_TIME} if random.random() < 0.15 else {"seconds": random.randint(1, 20)}
        return node(name, kind="delay", config=until)
    if drawn < 0.91:
        lenient = {"on_item_failure": "continue", "most_failed_items": random.randrange(3)}
        config = {"workflow_id": CHILD, "items": "inputs.list", "concurrency": random.randint(1, 3)}
        return node(name, kind="map", config={**config, **(lenient if random.random() < 0.5 else {})}, **bound)
    return node(name, kind="workflow", config={"workflow_id": CHILD}, **bound)


def _drawn_human(random: Random, name: str) -> Json:
    if random.random() < 0.5:
        return {**human(), "id": name}
    then = random.choice([{"action": "fail"}, {"action": "decide", "outcome": random.choice(["approve", "reject"])}])
    return {**human(deadline={"after_seconds": random.randrange(4, 24, 2), "then": then}), "id": name}


def drawn_condition(random: Random, source: Json, edges: list[Json]) -> dict[str, Any]:
    """Draw what an edge out of a node asks: about the inputs, that node, or one before it; often nothing."""
    name, drawn = source["id"], random.random()
    before = sorted(ancestors(name, edges))
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


def ancestors(name: str, edges: list[Json]) -> set[str]:
    """Give the nodes that come before a node."""
    found: set[str] = set()
    while more := {one["from"] for one in edges if one["to"] in {name, *found}} - found:
        found |= more
    return found


DEFAULTS: dict[str, Any] = {"human": {"outcome": "approve"}, "map": ["none"], "workflow": {"n0": 1}, "delay": {}}


def _give_policy(random: Random, made: Json, outgoing: list[Json]) -> None:
    drawn = random.random()
    if drawn < 0.4:
        made["on_error"] = {"action": "continue", "output": DEFAULTS.get(made["kind"], random.randrange(10))}
    elif drawn < 0.75 and outgoing:
        fallback = random.choice(outgoing)
        fallback.pop("when", None)
        made["on_error"] = {"action": "fallback", "to": fallback["to"]}


def drawn_behaviour(random: Random, made: Json, within: Plot | None = None, *, timed: bool = False) -> Behaviour:
    """Draw what a node is going to do. A person's time is odd, a deadline even: they never come at once."""
    match made["kind"]:
        case "human":
            return Behaviour(random.choice(["approve", "reject", "approve", None]), takes=random.randrange(1, 30, 2))
        case "delay":
            return Behaviour(0)
        case "map" | "workflow":
            assert within is not None
            count = random.randrange(5) if made["kind"] == "map" else 1
            return Behaviour(0, items=tuple(_redrawn(random, within, timed=timed) for _ in range(count)))
        case _:
            return _drawn_work(random, made, timed=timed)


def _redrawn(random: Random, template: Plot, *, timed: bool) -> Plot:
    """Draw another run of the same graph."""
    nodes = sorted(template.raw["nodes"], key=lambda one: one["id"])
    behaviours = {one["id"]: drawn_behaviour(random, one, template.within.get(one["id"]), timed=timed) for one in nodes}
    return replace(template, inputs={"n": random.randrange(10)}, behaviours=behaviours)


def _drawn_work(random: Random, made: Json, *, timed: bool) -> Behaviour:
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
