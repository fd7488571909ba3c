"""The reference interpreter: the outcome of every step of a run, slow and obvious, without order and without state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from domain.graphs.graph import ErrorClass
from tests.support.engine.simulator.random_graphs import NO_TIME, Behaviour, GraphCase
from tests.support.graphs import Json


class StepOutcome(Enum):
    """Final outcome of a step."""

    GAVE = auto()
    DEFAULTED = auto()
    FELL_BACK = auto()
    SKIPPED = auto()
    FAILS_THE_RUN = auto()
    WAITS_FOR_EVER = auto()
    NEVER_REACHED = auto()


HANGING = {StepOutcome.FAILS_THE_RUN, StepOutcome.WAITS_FOR_EVER, StepOutcome.NEVER_REACHED}
SOME_TIME = object()
"""Stands for a time that depends on when a step began."""


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """The output of a step behind which a condition cannot be evaluated, and its attempts without those lost."""

    output: Any
    attempts: int


@dataclass(frozen=True, slots=True)
class ExpectedStep:
    """A step's outcome, its output, the indexes of the edges taken after it, and its attempts without those lost.

    `gave` is its output although a condition behind it failed it.
    """

    outcome: StepOutcome
    output: Any = None
    taken: frozenset[int] = frozenset()
    attempts: int = 0
    gave: KeptOutput | None = None


Items = Mapping[str, Mapping[int, Any]]
"""The outputs of the items of maps that are done, by the map and their place in its list."""

NOTHING_KEPT: dict[str, ExpectedStep] = {}
NO_ITEMS: Items = {}
KeptOutputs = Mapping[str, KeptOutput]
"""The outputs of steps that have not settled and need not be executed again."""
NO_OUTPUTS: KeptOutputs = {}


class CannotTell(Exception):  # noqa: N818  # a condition without an answer
    """A condition cannot be evaluated."""


class Fails(Exception):  # noqa: N818  # what a step comes to
    """A step fails for good after so many attempts."""

    def __init__(self, attempts: int) -> None:
        """Name the attempts."""
        self.attempts = attempts


class Waits(Exception):  # noqa: N818  # what a step comes to
    """A step waits for what never comes."""


def compute_expected(
    graph_case: GraphCase,
    kept: Mapping[str, ExpectedStep] = NOTHING_KEPT,
    items: Items = NO_ITEMS,
    kept_outputs: KeptOutputs = NO_OUTPUTS,
) -> dict[str, ExpectedStep]:
    """Return the expected outcome of every step; those kept of an earlier attempt of the run are given."""
    known = dict(kept)
    while len(known) < len(graph_case.raw["nodes"]):
        for node in graph_case.raw["nodes"]:
            before = [raw_edge["from"] for raw_edge in graph_case.raw["edges"] if raw_edge["to"] == node["id"]]
            if node["id"] not in known and all(source in known for source in before):
                known[node["id"]] = _compute_step(
                    graph_case, node, known, items.get(node["id"], {}), kept_outputs.get(node["id"])
                )
    return known


def compute_run_outputs(graph_case: GraphCase, expected_steps: Mapping[str, ExpectedStep]) -> dict[str, Any]:
    """Return the outputs of a completed run: those of its terminal nodes that have an output."""
    leading = {raw_edge["from"] for raw_edge in graph_case.raw["edges"]}
    ends = {node: expected_step for node, expected_step in expected_steps.items() if node not in leading}
    return {
        node: expected_step.output
        for node, expected_step in ends.items()
        if expected_step.outcome in {StepOutcome.GAVE, StepOutcome.DEFAULTED}
    }


def _compute_step(
    graph_case: GraphCase, node: Json, known: dict[str, ExpectedStep], done: Mapping[int, Any], given: KeptOutput | None
) -> ExpectedStep:
    incoming = [
        (place, raw_edge) for place, raw_edge in enumerate(graph_case.raw["edges"]) if raw_edge["to"] == node["id"]
    ]
    if any(known[raw_edge["from"]].outcome in HANGING for _, raw_edge in incoming):
        return ExpectedStep(StepOutcome.NEVER_REACHED)
    if incoming and not any(place in known[raw_edge["from"]].taken for place, raw_edge in incoming):
        return ExpectedStep(StepOutcome.SKIPPED)
    try:
        given = given or KeptOutput(*_execute_step(node, graph_case.behaviours[node["id"]], done))
    except Waits:
        return ExpectedStep(StepOutcome.WAITS_FOR_EVER)
    except Fails as failed:
        return _apply_policy(graph_case, node, known, failed.attempts)
    try:
        return ExpectedStep(
            StepOutcome.GAVE, given.output, _find_taken_edges(graph_case, node, given.output, known), given.attempts
        )
    except CannotTell:  # a condition that cannot be evaluated fails the step
        return replace(_apply_policy(graph_case, node, known, given.attempts), gave=given)


def _execute_step(node: Json, behaviour: Behaviour, done: Mapping[int, Any]) -> tuple[Any, int]:
    """Return a step's output and the number of its attempts. Raises Fails, Waits."""
    match node["kind"]:
        case "human":
            return _compute_decision(node, behaviour), 1
        case "delay":
            if node["config"].get("until") == NO_TIME:
                raise Fails(_count_attempts(node, ErrorClass.EXPRESSION))
            return {"until": SOME_TIME}, 1
        case "map" | "workflow":
            return _gather_children(node, behaviour, done), 1
        case _:
            return behaviour.output, _count_work_attempts(node, behaviour)


def _compute_decision(node: Json, behaviour: Behaviour) -> Json:
    deadline = node["config"].get("deadline")
    outcome = behaviour.output
    if deadline is not None and (outcome is None or behaviour.takes > deadline["after_seconds"]):
        if deadline["then"]["action"] == "fail":
            raise Fails(_count_attempts(node, ErrorClass.DEADLINE))
        outcome = deadline["then"]["outcome"]
    if outcome is None:
        raise Waits
    return {"outcome": outcome, "data": {}, "comment": None}


def _gather_children(node: Json, behaviour: Behaviour, done: Mapping[int, Any]) -> Any:  # noqa: ANN401  # JSON
    """Return the results of the children. One that waits for ever keeps its slot, and later ones may never begin."""
    config = node["config"]
    results: list[Any] = []
    waiting = failed = 0
    for place, item in enumerate(behaviour.items):
        if place in done:
            results.append(done[place])
            continue
        if waiting == config.get("concurrency", 1):
            continue
        expected_steps = compute_expected(item)
        of = {expected_step.outcome for expected_step in expected_steps.values()}
        if StepOutcome.FAILS_THE_RUN in of:
            failed += 1
        elif StepOutcome.WAITS_FOR_EVER in of:
            waiting += 1
        results.append(
            {"error": SOME_ERROR} if StepOutcome.FAILS_THE_RUN in of else compute_run_outputs(item, expected_steps)
        )
    if failed > (config["most_failed_items"] if config.get("on_item_failure") == "continue" else 0):
        raise Fails(_count_attempts(node, ErrorClass.CHILD_FAILED))
    if waiting and "timeout_seconds" in node:
        raise Fails(_count_attempts(node, ErrorClass.TIMEOUT))
    if waiting:
        raise Waits
    return results if node["kind"] == "map" else results[0]


SOME_ERROR = object()
"""Stands for why a child failed: which of its steps was the first depends on the order."""


def _count_attempts(node: Json, error_class: ErrorClass) -> int:
    """Return the number of attempts of a step that always fails in the same way."""
    retry = node.get("retry", {"retry_on": [], "max_attempts": 1})
    return retry["max_attempts"] if error_class in retry["retry_on"] else 1


def _count_work_attempts(node: Json, behaviour: Behaviour) -> int:
    """Return the number of attempts until work succeeds, by the clock. Raises Fails."""
    seconds, attempt = 0.0, 1
    total: float = node.get("total_timeout_seconds", float("inf"))
    while seconds + behaviour.takes < total:
        seconds += behaviour.takes
        if behaviour.fails is not None and attempt > behaviour.fails:
            return attempt
        if attempt == _count_attempts(node, behaviour.error_class):
            break
        seconds += compute_back_off(node, behaviour, attempt)
        if seconds >= total:
            break
        attempt += 1
    raise Fails(attempt)


def compute_back_off(node: Json, behaviour: Behaviour, attempt: int) -> float:
    """Return the seconds between a failed attempt and the next."""
    return max(min(60, node["retry"]["backoff"]["initial_seconds"] * 2 ** (attempt - 1)), behaviour.asks_to_wait)


def _apply_policy(graph_case: GraphCase, node: Json, known: dict[str, ExpectedStep], attempts: int) -> ExpectedStep:
    policy = node.get("on_error", {"action": "fail"})
    if policy["action"] == "continue":
        try:
            taken = _find_taken_edges(graph_case, node, policy["output"], known)
        except CannotTell:
            return ExpectedStep(StepOutcome.FAILS_THE_RUN, attempts=attempts)
        return ExpectedStep(StepOutcome.DEFAULTED, policy["output"], taken, attempts)
    if policy["action"] == "fallback":
        edges = enumerate(graph_case.raw["edges"])
        taken = frozenset(
            p for p, raw_edge in edges if (raw_edge["from"], raw_edge["to"]) == (node["id"], policy["to"])
        )
        return ExpectedStep(StepOutcome.FELL_BACK, None, taken, attempts)
    return ExpectedStep(StepOutcome.FAILS_THE_RUN, attempts=attempts)


def _find_taken_edges(graph_case: GraphCase, node: Json, output: Any, known: dict[str, ExpectedStep]) -> frozenset[int]:  # noqa: ANN401  # JSON
    fallback = node.get("on_error", {}).get("to")
    outgoing = [
        (place, raw_edge)
        for place, raw_edge in enumerate(graph_case.raw["edges"])
        if raw_edge["from"] == node["id"] and raw_edge["to"] != fallback
    ]
    return frozenset(
        place for place, raw_node in outgoing if _holds(raw_node.get("when"), output, graph_case.inputs, known)
    )


def _holds(when: str | None, output: Any, inputs: Json, known: dict[str, ExpectedStep]) -> bool:  # noqa: ANN401  # JSON
    if when is None:
        return True
    if "nope" in when:
        raise CannotTell
    if asked := re.fullmatch(r"has\(steps\.\w+\.output\.(\w+)\)", when):
        return asked[1] in output
    if asked := re.fullmatch(r"has\(steps\.(\w+)\.output\)", when):
        return known[asked[1]].outcome in {StepOutcome.GAVE, StepOutcome.DEFAULTED}
    if asked := re.fullmatch(r"inputs\.n > (\d+)", when):
        return inputs["n"] > int(asked[1])
    if asked := re.fullmatch(r"size\(steps\.\w+\.output\) > (\d+)", when):
        return len(output) > int(asked[1])
    if asked := re.fullmatch(r"steps\.\w+\.output > (\d+)", when):
        return output > int(asked[1])
    return output["outcome"] == when.split("'")[1]
