"""Laws of every simulated run: its end is that of the reference, and its history has no superfluous step."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol, cast

from domain.graphs.graph import ErrorClass
from domain.runs.facts import (
    RUN_ENDS,
    ItemOutcome,
    RunCancelRequested,
    RunFact,
    RunRetried,
    StepCompleted,
    StepDecided,
    StepFailed,
    StepItemsSettled,
    StepReused,
    StepSkipped,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from domain.runs.run import Run, RunStatus
from domain.runs.steps import SETTLED, StepStatus, list_usages
from tests.support.engine.simulator.random_graphs import GraphCase
from tests.support.engine.simulator.reference import (
    NO_ITEMS,
    NO_OUTPUTS,
    NOTHING_KEPT,
    SOME_ERROR,
    SOME_TIME,
    ExpectedStep,
    Items,
    KeptOutputs,
    StepOutcome,
    compute_back_off,
    compute_expected,
    compute_run_outputs,
)
from tests.support.engine.simulator.simulator import Simulator

STATUS = {
    StepOutcome.GAVE: StepStatus.COMPLETED,
    StepOutcome.DEFAULTED: StepStatus.FAILED,
    StepOutcome.FELL_BACK: StepStatus.FAILED,
    StepOutcome.SKIPPED: StepStatus.SKIPPED,
    StepOutcome.FAILS_THE_RUN: StepStatus.FAILED,
    StepOutcome.WAITS_FOR_EVER: StepStatus.WAITING,
}
CUT_SHORT = (RunStatus.FAILED, RunStatus.CANCELLED)


class RunRecord(Protocol):
    """A run with its graph case."""

    @property
    def graph_case(self) -> GraphCase:
        """Return the graph case that it follows now."""
        ...

    @property
    def run(self) -> Run:
        """Return its folded state."""
        ...

    @property
    def facts(self) -> list[RunFact]:
        """Return its facts."""
        ...


def check_run(
    simulator: Simulator,
    kept: Mapping[str, ExpectedStep] = NOTHING_KEPT,
    items: Items = NO_ITEMS,
    kept_outputs: KeptOutputs = NO_OUTPUTS,
    *,
    disturbed: bool = True,
) -> dict[str, ExpectedStep]:
    """Compare a run that rests, and its children, with the reference; return the expected steps."""
    expected_steps = compute_expected(simulator.graph_case, kept, items, kept_outputs)
    check_end(simulator, expected_steps)
    chapter = list_last_attempt(simulator.facts)
    check_history(simulator, chapter, kept, kept_outputs)
    check_kept_outputs(chapter, expected_steps)
    check_waits(simulator, chapter)
    check_attempts(simulator, expected_steps, kept)
    assert disturbed or not any(was_lost(fact) for fact in chapter)
    for children in simulator.children.begun.values():
        for child in children.values():
            check_run(child, disturbed=disturbed)
    return expected_steps


def list_last_attempt(facts: list[RunFact]) -> list[RunFact]:
    """Return the facts since the run was started or last retried."""
    begins = max((place for place, fact in enumerate(facts) if isinstance(fact, RunRetried)), default=0)
    return facts[begins:]


def list_settled(facts: list[RunFact]) -> set[str]:
    """Return the steps that are done; a failed one is if the run continued by its default or its fallback."""
    done = {fact.node for fact in facts if isinstance(fact, StepCompleted | StepSkipped | StepReused)}
    return done | {f.node for f in facts if isinstance(f, StepFailed) and (f.edges_taken or f.continued_with)}


def is_expected(wanted: object, found: object) -> bool:
    """Return whether a value is the expected one, where the expectation is definite."""
    if wanted is SOME_TIME:
        return isinstance(found, str)
    if wanted is SOME_ERROR:
        return isinstance(found, dict) and set(cast("Any", found)) == {"error_class", "message"}
    if isinstance(wanted, dict) and isinstance(found, dict):
        wanted_items, other = cast("dict[str, object]", wanted), cast("dict[str, object]", found)
        return set(wanted_items) == set(other) and all(
            is_expected(wanted_items[key], other[key]) for key in wanted_items
        )
    if isinstance(wanted, list) and isinstance(found, list):
        ones, others = cast("list[object]", wanted), cast("list[object]", found)
        return len(ones) == len(others) and all(map(is_expected, ones, others))
    return wanted == found


def check_end(simulator: RunRecord, expected_steps: dict[str, ExpectedStep]) -> None:
    """Compare the end of a run with its expected steps."""
    of = {expected_step.outcome for expected_step in expected_steps.values()}
    run = simulator.run
    if any(isinstance(fact, RunCancelRequested) for fact in list_last_attempt(simulator.facts)):
        assert run.status is RunStatus.CANCELLED
    elif StepOutcome.FAILS_THE_RUN in of:
        assert run.status is RunStatus.FAILED
        assert expected_steps[run.failed_node or ""].outcome is StepOutcome.FAILS_THE_RUN
    elif StepOutcome.WAITS_FOR_EVER in of:
        assert run.status is RunStatus.WAITING
        assert all(step.waiting for step in run.steps.values() if step.status not in SETTLED)
    else:
        assert run.status is RunStatus.COMPLETED
        found = {node: output.value for node, output in run.outputs.items()}
        assert is_expected(compute_run_outputs(simulator.graph_case, expected_steps), found), found
    for node, expected_step in expected_steps.items():
        _check_step(run, node, expected_step)


def _check_step(run: Run, node: str, expected_step: ExpectedStep) -> None:
    """Compare one step of a run that rests with the expected one; the end of the run may stop others anywhere."""
    step = run.steps.get(node)
    cut_short = run.status in CUT_SHORT
    if expected_step.outcome is StepOutcome.NEVER_REACHED:
        assert step is None, f"{node} must not be reached"
        return
    if step is None or step.status is StepStatus.CANCELLED:
        assert cut_short, f"{node} was forgotten"
        return
    assert step.status is STATUS[expected_step.outcome], f"{node} is {step.status}"
    if step.status is not StepStatus.WAITING:
        assert frozenset(step.edges_taken) == expected_step.taken, node
        assert is_expected(expected_step.output, step.output.value), node
    assert step.continued is (expected_step.outcome is StepOutcome.DEFAULTED)


def check_history(
    simulator: RunRecord,
    chapter: list[RunFact],
    kept: Mapping[str, ExpectedStep],
    kept_outputs: KeptOutputs = NO_OUTPUTS,
) -> None:
    """Check the facts since the start or the last retry by the laws that need no simulated clock."""
    check_starts(chapter, {*kept, *kept_outputs})
    check_joins(simulator, chapter, kept)
    check_times(chapter)
    check_items(chapter)
    check_paid_once(simulator)


def check_kept_outputs(chapter: list[RunFact], expected_steps: Mapping[str, ExpectedStep]) -> None:
    """Assert that a failure records the step's output exactly if a condition failed and the run did not continue."""
    for fact in chapter:
        if not isinstance(fact, StepFailed):
            continue
        expected_step = expected_steps[fact.node]
        if fact.gave is not None:
            assert expected_step.gave is not None, f"{fact.node} cannot have given anything"
            assert is_expected(expected_step.gave.output, fact.gave.value), fact.node
        elif expected_step.gave is not None and fact.retry_at is None:
            assert expected_step.outcome in {StepOutcome.DEFAULTED, StepOutcome.FELL_BACK}, (
                f"what {fact.node} gave is lost"
            )


def check_starts(chapter: list[RunFact], kept: Collection[str]) -> None:
    """No attempt twice, none without a recorded reason, none of what is kept or after a cancel, one end."""
    starts: Counter[tuple[str, int]] = Counter()
    reasons: dict[tuple[str, int], StepFailed] = {}
    wanted = True
    for fact in chapter:
        if isinstance(fact, StepStarted):
            assert wanted, f"{fact.node} starts after somebody cancelled the run"
            assert fact.node not in kept, f"{fact.node} is done once more"
            starts[fact.node, fact.attempt] += 1
            reason = reasons.get((fact.node, fact.attempt - 1))
            assert fact.attempt == 1 or reason is not None, f"{fact.node} runs again without a reason"
            assert reason is None or reason.retry_at is None or reason.retry_at <= fact.started_at, "it is early"
        elif isinstance(fact, StepFailed) and fact.retry_at is not None:
            reasons[fact.node, fact.attempt] = fact
        elif isinstance(fact, RunCancelRequested):
            wanted = False
    assert set(starts.values()) <= {1}
    assert sum(isinstance(fact, RUN_ENDS) for fact in chapter) <= 1


def check_joins(simulator: RunRecord, chapter: list[RunFact], kept: Mapping[str, ExpectedStep]) -> None:
    """Each step begins or is skipped once, after all the steps before it: because an edge was taken, or none was."""
    edges = simulator.graph_case.raw["edges"]
    taken = {place for expected_step in kept.values() for place in expected_step.taken}
    settled, fired = set(kept), set[str]()
    for fact in chapter:
        first = isinstance(fact, StepStarted) and fact.attempt == 1
        if first or isinstance(fact, StepSkipped):
            node = cast("StepStarted | StepSkipped", fact).node
            places = [place for place, raw_edge in enumerate(edges) if raw_edge["to"] == node]
            if isinstance(fact, StepSkipped) and node in kept:
                continue  # a fork tells of what its run had skipped
            assert node not in fired, f"{node} fires twice"
            assert {edges[place]["from"] for place in places} <= settled, f"{node} does not wait for all before it"
            assert first is (not places or not taken.isdisjoint(places)), f"{node} begins or is skipped wrongly"
            fired.add(node)
        settled |= list_settled([fact])
        if isinstance(fact, StepCompleted | StepFailed | StepReused):
            taken.update(fact.edges_taken)


def check_times(chapter: list[RunFact]) -> None:
    """Assert that no step that waits for a time continues before it."""
    until = {(fact.node, fact.attempt): fact.until for fact in chapter if isinstance(fact, StepWaiting)}
    for fact in chapter:
        match fact:
            case StepCompleted(node=node, attempt=attempt, completed_at=at):
                if isinstance(fact.output.value, dict) and "until" in cast("Any", fact.output.value):
                    waited = until.get((node, attempt))
                    assert waited is None or waited <= at, f"{node} ends early"
            case StepDecided(node=node, decided_by="system", decided_at=at):
                assert any(name == node and when and when <= at for (name, _), when in until.items())
            case StepFailed(node=node, attempt=attempt, failed_at=at):
                if fact.error.error_class is ErrorClass.DEADLINE:
                    waited = until[node, attempt]
                    assert waited is not None
                    assert waited <= at
            case _:
                pass


def check_waits(simulator: Simulator, chapter: list[RunFact]) -> None:
    """A delay, and the wait before the next attempt, is as long as the graph says, and as the other side asks."""
    nodes = {raw_node["id"]: raw_node for raw_node in simulator.graph_case.raw["nodes"]}
    cancelled = (
        simulator.run.status is RunStatus.CANCELLED
    )  # then an attempt that was cut short is told of, without a wait
    failures: Counter[str] = Counter()
    for fact in chapter:
        if isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.TIMER:
            assert fact.until == fact.waiting_since + timedelta(seconds=nodes[fact.node]["config"]["seconds"])
        if not isinstance(fact, StepFailed) or fact.retry_at is None:
            continue
        failures[fact.node] += fact.error.error_class is not ErrorClass.OWNER_LOST
        waited = (fact.retry_at - fact.failed_at).total_seconds()
        if waited or not (cancelled or fact.error.error_class is ErrorClass.OWNER_LOST):
            wanted = compute_back_off(nodes[fact.node], simulator.graph_case.behaviours[fact.node], failures[fact.node])
            assert waited == wanted, f"{fact.node} waits {waited} s"


def check_items(chapter: list[RunFact]) -> None:
    """Each end of a child is told of once, and one that completed is the only one of its item."""
    told: Counter[tuple[str, int, int]] = Counter()
    done: Counter[tuple[str, int]] = Counter()
    for fact in chapter:
        if isinstance(fact, StepItemsSettled):
            told.update((fact.node, fact.attempt, result.item) for result in fact.items)
            done.update((fact.node, result.item) for result in fact.items if result.outcome is ItemOutcome.COMPLETED)
    assert set(told.values()) | set(done.values()) <= {1}, "a child is told of twice"


def check_paid_once(simulator: RunRecord) -> None:
    """Assert that the usage of each call is recorded once, by a step or by the run, whatever the step's outcome."""
    told = sum(getattr(fact, "usage", None) is not None for fact in simulator.facts)
    counted = len(simulator.run.earlier) + sum(len(list_usages(step)) for step in simulator.run.steps.values())
    assert told == counted, f"{told} calls were paid for, {counted} are told of"


def check_attempts(
    simulator: Simulator, expected_steps: Mapping[str, ExpectedStep], kept: Mapping[str, ExpectedStep]
) -> None:
    """Each step takes exactly its attempts, besides those that were lost with their engines."""
    for node, step in simulator.run.steps.items():
        if step.status in (StepStatus.COMPLETED, StepStatus.FAILED) and node not in kept:
            assert step.failures == expected_steps[node].attempts, f"{node} took {step.failures} attempts"


def was_lost(fact: RunFact) -> bool:
    """Return whether a fact records that an attempt was lost with its engine."""
    return isinstance(fact, StepFailed) and fact.error.error_class is ErrorClass.OWNER_LOST
