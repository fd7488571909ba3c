"""The reference interpreter: what becomes of every step of a run, slowly and obviously, with no order and no state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from domain.graphs.graph import ErrorClass
from tests.support.engine.simulator.random_graphs import NO_TIME, Behaviour, Plot
from tests.support.graphs import Json


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
SOME_TIME = object()
"""Stands for a time that depends on when a step began."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a step gave though a condition behind it cannot be evaluated, and the attempts it took, less those lost."""

    output: Any
    attempts: int


@dataclass(frozen=True, slots=True)
class Expected:
    """A step's fate, its output, the places of the edges taken after it, and the attempts it took, less those lost.

    `gave` is what it gives in spite of a condition that fails it.
    """

    fate: Fate
    output: Any = None
    taken: frozenset[int] = frozenset()
    attempts: int = 0
    gave: Given | None = None


Items = Mapping[str, Mapping[int, Any]]
"""The outputs of the items of maps that are done, by the map and their place in its list."""

NOTHING_KEPT: dict[str, Expected] = {}
NO_ITEMS: Items = {}
Gifts = Mapping[str, Given]
"""What steps gave that have not settled, and need not do again."""
NO_GIFTS: Gifts = {}


class CannotTell(Exception):  # noqa: N818  # a condition without an answer
    """A condition cannot be evaluated."""


class Fails(Exception):  # noqa: N818  # what a step comes to
    """A step fails for good after so many attempts."""

    def __init__(self, attempts: int) -> None:
        """Name the attempts."""
        self.attempts = attempts


class Waits(Exception):  # noqa: N818  # what a step comes to
    """A step waits for what never comes."""


def expected(
    plot: Plot, kept: Mapping[str, Expected] = NOTHING_KEPT, items: Items = NO_ITEMS, gifts: Gifts = NO_GIFTS
) -> dict[str, Expected]:
    """Give what becomes of every step; what is kept of an earlier attempt of the run has happened already."""
    known = dict(kept)
    while len(known) < len(plot.raw["nodes"]):
        for node in plot.raw["nodes"]:
            before = [one["from"] for one in plot.raw["edges"] if one["to"] == node["id"]]
            if node["id"] not in known and all(source in known for source in before):
                known[node["id"]] = _fate(plot, node, known, items.get(node["id"], {}), gifts.get(node["id"]))
    return known


def outputs_of(plot: Plot, fates: Mapping[str, Expected]) -> dict[str, Any]:
    """Give the outputs of a run that completes: those of the nodes that lead nowhere, as far as they have any."""
    leading = {one["from"] for one in plot.raw["edges"]}
    ends = {node: fate for node, fate in fates.items() if node not in leading}
    return {node: fate.output for node, fate in ends.items() if fate.fate in {Fate.GAVE, Fate.DEFAULTED}}


def _fate(plot: Plot, node: Json, known: dict[str, Expected], done: Mapping[int, Any], given: Given | None) -> Expected:
    incoming = [(place, one) for place, one in enumerate(plot.raw["edges"]) if one["to"] == node["id"]]
    if any(known[one["from"]].fate in HANGING for _, one in incoming):
        return Expected(Fate.NEVER_REACHED)
    if incoming and not any(place in known[one["from"]].taken for place, one in incoming):
        return Expected(Fate.SKIPPED)
    try:
        given = given or Given(*_carried_out(node, plot.behaviours[node["id"]], done))
    except Waits:
        return Expected(Fate.WAITS_FOR_EVER)
    except Fails as failed:
        return _failed(plot, node, known, failed.attempts)
    try:
        return Expected(Fate.GAVE, given.output, _taken(plot, node, given.output, known), given.attempts)
    except CannotTell:  # a condition that cannot be evaluated fails the step
        return replace(_failed(plot, node, known, given.attempts), gave=given)


def _carried_out(node: Json, behaviour: Behaviour, done: Mapping[int, Any]) -> tuple[Any, int]:
    """Give a step's output and the attempts that it took. Raises Fails, Waits."""
    match node["kind"]:
        case "human":
            return _decided(node, behaviour), 1
        case "delay":
            if node["config"].get("until") == NO_TIME:
                raise Fails(_attempts(node, ErrorClass.EXPRESSION))
            return {"until": SOME_TIME}, 1
        case "map" | "workflow":
            return _gathered(node, behaviour, done), 1
        case _:
            return behaviour.output, _attempts_of_work(node, behaviour)


def _decided(node: Json, behaviour: Behaviour) -> Json:
    deadline = node["config"].get("deadline")
    outcome = behaviour.output
    if deadline is not None and (outcome is None or behaviour.takes > deadline["after_seconds"]):
        if deadline["then"]["action"] == "fail":
            raise Fails(_attempts(node, ErrorClass.DEADLINE))
        outcome = deadline["then"]["outcome"]
    if outcome is None:
        raise Waits
    return {"outcome": outcome, "data": {}, "comment": None}


def _gathered(node: Json, behaviour: Behaviour, done: Mapping[int, Any]) -> Any:  # noqa: ANN401  # JSON
    """Give what the children come to. One that waits for ever keeps its place, and those behind may never begin."""
    config = node["config"]
    results: list[Any] = []
    waiting = failed = 0
    for place, item in enumerate(behaviour.items):
        if place in done:
            results.append(done[place])
            continue
        if waiting == config.get("concurrency", 1):
            continue
        fates = expected(item)
        of = {fate.fate for fate in fates.values()}
        if Fate.FAILS_THE_RUN in of:
            failed += 1
        elif Fate.WAITS_FOR_EVER in of:
            waiting += 1
        results.append({"error": SOME_ERROR} if Fate.FAILS_THE_RUN in of else outputs_of(item, fates))
    if failed > (config["most_failed_items"] if config.get("on_item_failure") == "continue" else 0):
        raise Fails(_attempts(node, ErrorClass.CHILD_FAILED))
    if waiting and "timeout_seconds" in node:
        raise Fails(_attempts(node, ErrorClass.TIMEOUT))
    if waiting:
        raise Waits
    return results if node["kind"] == "map" else results[0]


SOME_ERROR = object()
"""Stands for why a child failed: which of its steps was the first depends on the order."""


def _attempts(node: Json, error_class: ErrorClass) -> int:
    """Give how often a step is tried that fails in the same way each time."""
    retry = node.get("retry", {"retry_on": [], "max_attempts": 1})
    return retry["max_attempts"] if error_class in retry["retry_on"] else 1


def _attempts_of_work(node: Json, behaviour: Behaviour) -> int:
    """Give how often work is tried until it is done, by the clock. Raises Fails."""
    seconds, attempt = 0.0, 1
    total: float = node.get("total_timeout_seconds", float("inf"))
    while seconds + behaviour.takes < total:
        seconds += behaviour.takes
        if behaviour.fails is not None and attempt > behaviour.fails:
            return attempt
        if attempt == _attempts(node, behaviour.error_class):
            break
        seconds += wait_after(node, behaviour, attempt)
        if seconds >= total:
            break
        attempt += 1
    raise Fails(attempt)


def wait_after(node: Json, behaviour: Behaviour, attempt: int) -> float:
    """Give how many seconds pass between an attempt that failed and the next."""
    return max(min(60, node["retry"]["backoff"]["initial_seconds"] * 2 ** (attempt - 1)), behaviour.asks_to_wait)


def _failed(plot: Plot, node: Json, known: dict[str, Expected], attempts: int) -> Expected:
    policy = node.get("on_error", {"action": "fail"})
    if policy["action"] == "continue":
        try:
            taken = _taken(plot, node, policy["output"], known)
        except CannotTell:
            return Expected(Fate.FAILS_THE_RUN, attempts=attempts)
        return Expected(Fate.DEFAULTED, policy["output"], taken, attempts)
    if policy["action"] == "fallback":
        edges = enumerate(plot.raw["edges"])
        taken = frozenset(p for p, one in edges if (one["from"], one["to"]) == (node["id"], policy["to"]))
        return Expected(Fate.FELL_BACK, None, taken, attempts)
    return Expected(Fate.FAILS_THE_RUN, attempts=attempts)


def _taken(plot: Plot, node: Json, output: Any, known: dict[str, Expected]) -> frozenset[int]:  # noqa: ANN401  # JSON
    fallback = node.get("on_error", {}).get("to")
    outgoing = [
        (place, one)
        for place, one in enumerate(plot.raw["edges"])
        if one["from"] == node["id"] and one["to"] != fallback
    ]
    return frozenset(place for place, one in outgoing if _holds(one.get("when"), output, plot.inputs, known))


def _holds(when: str | None, output: Any, inputs: Json, known: dict[str, Expected]) -> bool:  # noqa: ANN401  # JSON
    if when is None:
        return True
    if "nope" in when:
        raise CannotTell
    if asked := re.fullmatch(r"has\(steps\.\w+\.output\.(\w+)\)", when):
        return asked[1] in output
    if asked := re.fullmatch(r"has\(steps\.(\w+)\.output\)", when):
        return known[asked[1]].fate in {Fate.GAVE, Fate.DEFAULTED}
    if asked := re.fullmatch(r"inputs\.n > (\d+)", when):
        return inputs["n"] > int(asked[1])
    if asked := re.fullmatch(r"size\(steps\.\w+\.output\) > (\d+)", when):
        return len(output) > int(asked[1])
    if asked := re.fullmatch(r"steps\.\w+\.output > (\d+)", when):
        return output > int(asked[1])
    return output["outcome"] == when.split("'")[1]
