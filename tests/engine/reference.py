"""The reference interpreter: what becomes of every step of a run, slowly and obviously, with no order and no state."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from tests.engine.random_graphs import NOT_RETRIED, Behaviour, Plot
from tests.fixtures.graphs import Json


class Fate(Enum):
    """What becomes of a step."""

    GAVE = auto()
    DEFAULTED = auto()
    FELL_BACK = auto()
    SKIPPED = auto()
    FAILS_THE_RUN = auto()
    WAITS_FOR_EVER = auto()
    NEVER_REACHED = auto()


HANGING = {Fate.FAILS_THE_RUN, Fate.WAITS_FOR_EVER, Fate.NEVER_REACHED}


@dataclass(frozen=True, slots=True)
class Expected:
    """A step's fate, its output, the places of the edges taken after it, and the attempts it took undisturbed."""

    fate: Fate
    output: Any = None
    taken: frozenset[int] = frozenset()
    attempts: int = 0


class CannotTell(Exception):  # noqa: N818  # a condition without an answer
    """A condition cannot be evaluated."""


def expected(plot: Plot) -> dict[str, Expected]:
    """Give what becomes of every step."""
    known: dict[str, Expected] = {}
    while len(known) < len(plot.raw["nodes"]):
        for node in plot.raw["nodes"]:
            before = [one["from"] for one in plot.raw["edges"] if one["to"] == node["id"]]
            if node["id"] not in known and all(source in known for source in before):
                known[node["id"]] = _fate(plot, node, known)
    return known


def _fate(plot: Plot, node: Json, known: dict[str, Expected]) -> Expected:
    incoming = [(place, one) for place, one in enumerate(plot.raw["edges"]) if one["to"] == node["id"]]
    if any(known[one["from"]].fate in HANGING for _, one in incoming):
        return Expected(Fate.NEVER_REACHED)
    if incoming and not any(place in known[one["from"]].taken for place, one in incoming):
        return Expected(Fate.SKIPPED)
    behaviour = plot.behaviours[node["id"]]
    if behaviour.output is None:
        return Expected(Fate.WAITS_FOR_EVER, attempts=1)
    output = {"outcome": behaviour.output} if node["kind"] == "human" else behaviour.output
    attempts = _attempts(node, behaviour)
    try:
        if behaviour.fails is not None:
            return Expected(Fate.GAVE, output, _taken(plot, node, output), attempts)
    except CannotTell:
        pass  # a condition that cannot be evaluated fails the step
    return _failed(plot, node, attempts)


def _attempts(node: Json, behaviour: Behaviour) -> int:
    if behaviour.fails is not None:
        return behaviour.fails + 1
    return 1 if behaviour.error_class is NOT_RETRIED else node.get("retry", {}).get("max_attempts", 1)


def _failed(plot: Plot, node: Json, attempts: int) -> Expected:
    policy = node.get("on_error", {"action": "fail"})
    if policy["action"] == "continue":
        try:
            taken = _taken(plot, node, policy["output"])
        except CannotTell:
            return Expected(Fate.FAILS_THE_RUN, attempts=attempts)
        return Expected(Fate.DEFAULTED, policy["output"], taken, attempts)
    if policy["action"] == "fallback":
        edges = enumerate(plot.raw["edges"])
        taken = frozenset(p for p, one in edges if (one["from"], one["to"]) == (node["id"], policy["to"]))
        return Expected(Fate.FELL_BACK, None, taken, attempts)
    return Expected(Fate.FAILS_THE_RUN, attempts=attempts)


def _taken(plot: Plot, node: Json, output: Any) -> frozenset[int]:  # noqa: ANN401  # JSON
    fallback = node.get("on_error", {}).get("to")
    outgoing = [
        (place, one)
        for place, one in enumerate(plot.raw["edges"])
        if one["from"] == node["id"] and one["to"] != fallback
    ]
    return frozenset(place for place, one in outgoing if _holds(one.get("when"), output, plot.inputs))


def _holds(when: str | None, output: Any, inputs: Json) -> bool:  # noqa: ANN401  # JSON
    if when is None:
        return True
    if "nope" in when:
        raise CannotTell
    if compared := re.fullmatch(r"(inputs\.n|.*\.output) > (\d+)", when):
        value = inputs["n"] if compared[1] == "inputs.n" else output
        return value > int(compared[2])
    return output["outcome"] == when.split("'")[1]
