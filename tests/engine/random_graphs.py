"""Random acyclic graphs, and what each of their steps is going to do."""

from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from domain.graph import ErrorClass, Graph
from tests.fixtures.graphs import Json, edge, human, node

RETRIED = ErrorClass.OVERLOADED
NOT_RETRIED = ErrorClass.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a step does: fails so often (for ever, where `fails` is None), and then gives its output.

    For a human step the output is the outcome that is chosen; None when nobody ever decides.
    """

    output: int | str | None
    fails: int | None = 0
    error_class: ErrorClass = RETRIED


@dataclass(frozen=True, slots=True)
class Plot:
    """A graph, what its run starts with, and what its steps will do."""

    raw: Json
    graph: Graph
    inputs: Json
    behaviours: dict[str, Behaviour]


def plot(seed: int) -> Plot:
    """Make a plot; small seeds make small graphs, so that the first that fails is a small one."""
    random = Random(seed)  # noqa: S311  # the same seed gives the same graph
    size = 1 + min(seed // 40, 9) + random.randrange(3)
    names = [f"n{index}" for index in range(size)]
    nodes: dict[str, Json] = {name: _node(random, name) for name in names}
    edges = [
        (source, target)
        for index, target in enumerate(names)
        for source in names[:index]
        if random.random() < 1.6 / max(index, 1)
    ]
    raw_edges = [edge(source, target, **_condition(random, nodes[source])) for source, target in edges]
    for name in names:
        _give_policy(random, nodes[name], [one for one in raw_edges if one["from"] == name])
    behaviours = {name: _behaviour(random, nodes[name]) for name in names}
    raw: Json = {"nodes": list(nodes.values()), "edges": raw_edges}
    random.shuffle(raw["nodes"])
    return Plot(
        raw=raw,
        graph=msgspec.convert(raw, Graph),
        inputs={"n": random.randrange(10)},
        behaviours=behaviours,
    )


def _node(random: Random, name: str) -> Json:
    made = {**human(), "id": name} if random.random() < 0.2 else node(name)
    if random.random() < 0.6:
        retry_on = ["overloaded"]
        made["retry"] = {"max_attempts": random.randint(1, 3), "retry_on": retry_on, "backoff": {"jitter": 0}}
    return made


def _condition(random: Random, source: Json) -> dict[str, Any]:
    name, drawn = source["id"], random.random()
    if drawn < 0.4:
        return {}
    if drawn < 0.55:
        return {"when": f"inputs.n > {random.randrange(10)}"}
    if drawn < 0.58:
        return {"when": f"steps.{name}.output.nope.nope == 1"}  # cannot be evaluated
    if source["kind"] == "human":
        return {"when": f"steps.{name}.output.outcome == '{random.choice(['approve', 'reject'])}'"}
    return {"when": f"steps.{name}.output > {random.randrange(10)}"}


def _give_policy(random: Random, made: Json, outgoing: list[Json]) -> None:
    drawn = random.random()
    if drawn < 0.3:
        default: Any = {"outcome": "approve"} if made["kind"] == "human" else random.randrange(10)
        made["on_error"] = {"action": "continue", "output": default}
    elif drawn < 0.6 and outgoing:
        fallback = random.choice(outgoing)
        fallback.pop("when", None)
        made["on_error"] = {"action": "fallback", "to": fallback["to"]}


def _behaviour(random: Random, made: Json) -> Behaviour:
    if made["kind"] == "human":
        return Behaviour(random.choice(["approve", "reject", "approve", None]))
    output, drawn = random.randrange(10), random.random()
    if drawn < 0.6:
        return Behaviour(output)
    if drawn < 0.75 and "retry" in made:
        # Never at its last attempt: an attempt that is lost with its owner counts too, and must not decide the outcome.
        made["retry"]["max_attempts"] = 9
        return Behaviour(output, fails=random.randint(1, 2))
    return Behaviour(output, fails=None, error_class=random.choice([RETRIED, NOT_RETRIED]))
