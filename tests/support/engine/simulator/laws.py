"""What must hold of every played run: its end is what the reference says, and its history has no step too many."""

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
from tests.support.engine.simulator.random_graphs import Plot
from tests.support.engine.simulator.reference import (
    NO_GIFTS,
    NO_ITEMS,
    NOTHING_KEPT,
    SOME_ERROR,
    SOME_TIME,
    Expected,
    Fate,
    Gifts,
    Items,
    expected,
    outputs_of,
    wait_after,
)
from tests.support.engine.simulator.simulator import Play

STATUS = {
    Fate.GAVE: StepStatus.COMPLETED,
    Fate.DEFAULTED: StepStatus.FAILED,
    Fate.FELL_BACK: StepStatus.FAILED,
    Fate.SKIPPED: StepStatus.SKIPPED,
    Fate.FAILS_THE_RUN: StepStatus.FAILED,
    Fate.WAITS_FOR_EVER: StepStatus.WAITING,
}
CUT_SHORT = (RunStatus.FAILED, RunStatus.CANCELLED)


class Told(Protocol):
    """A run, and what its plot says of it."""

    @property
    def plot(self) -> Plot:
        """Give the plot that it goes by now."""
        ...

    @property
    def run(self) -> Run:
        """Give what its facts come to."""
        ...

    @property
    def facts(self) -> list[RunFact]:
        """Give its facts."""
        ...


def check(
    play: Play,
    kept: Mapping[str, Expected] = NOTHING_KEPT,
    items: Items = NO_ITEMS,
    gifts: Gifts = NO_GIFTS,
    *,
    disturbed: bool = True,
) -> dict[str, Expected]:
    """Hold a run that has come to rest, and its children, against the reference; gives the fates of its steps."""
    fates = expected(play.plot, kept, items, gifts)
    check_end(play, fates)
    chapter = last_chapter(play.facts)
    check_history(play, chapter, kept, gifts)
    check_gifts(chapter, fates)
    check_waits(play, chapter)
    check_attempts(play, fates, kept)
    assert disturbed or not any(was_lost(fact) for fact in chapter)
    for children in play.families.begun.values():
        for child in children.values():
            check(child, disturbed=disturbed)
    return fates


def last_chapter(facts: list[RunFact]) -> list[RunFact]:
    """Give the facts since the run was begun or last retried."""
    begins = max((place for place, fact in enumerate(facts) if isinstance(fact, RunRetried)), default=0)
    return facts[begins:]


def settled_in(facts: list[RunFact]) -> set[str]:
    """Give the steps that are done: one that failed is where it has led on, by its default or its fallback."""
    done = {fact.node for fact in facts if isinstance(fact, StepCompleted | StepSkipped | StepReused)}
    return done | {f.node for f in facts if isinstance(f, StepFailed) and (f.edges_taken or f.continued_with)}


def agrees(wanted: object, found: object) -> bool:
    """Tell whether a value is what is expected, as far as that can be known."""
    if wanted is SOME_TIME:
        return isinstance(found, str)
    if wanted is SOME_ERROR:
        return isinstance(found, dict) and set(cast("Any", found)) == {"error_class", "message"}
    if isinstance(wanted, dict) and isinstance(found, dict):
        one, other = cast("dict[str, object]", wanted), cast("dict[str, object]", found)
        return set(one) == set(other) and all(agrees(one[key], other[key]) for key in one)
    if isinstance(wanted, list) and isinstance(found, list):
        ones, others = cast("list[object]", wanted), cast("list[object]", found)
        return len(ones) == len(others) and all(map(agrees, ones, others))
    return wanted == found


def check_end(play: Told, fates: dict[str, Expected]) -> None:
    """Hold the end of a run against the fates of its steps."""
    of = {fate.fate for fate in fates.values()}
    run = play.run
    if any(isinstance(fact, RunCancelRequested) for fact in last_chapter(play.facts)):
        assert run.status is RunStatus.CANCELLED
    elif Fate.FAILS_THE_RUN in of:
        assert run.status is RunStatus.FAILED
        assert fates[run.failed_node or ""].fate is Fate.FAILS_THE_RUN
    elif Fate.WAITS_FOR_EVER in of:
        assert run.status is RunStatus.WAITING
        assert all(step.waiting for step in run.steps.values() if step.status not in SETTLED)
    else:
        assert run.status is RunStatus.COMPLETED
        found = {node: output.value for node, output in run.outputs.items()}
        assert agrees(outputs_of(play.plot, fates), found), found
    for node, fate in fates.items():
        _check_step(run, node, fate)


def _check_step(run: Run, node: str, fate: Expected) -> None:
    """Hold one step of a run that has come to rest against its fate; what ends the run stops others anywhere."""
    step = run.steps.get(node)
    cut_short = run.status in CUT_SHORT
    if fate.fate is Fate.NEVER_REACHED:
        assert step is None, f"{node} must not be reached"
        return
    if step is None or step.status is StepStatus.CANCELLED:
        assert cut_short, f"{node} was forgotten"
        return
    assert step.status is STATUS[fate.fate], f"{node} is {step.status}"
    if step.status is not StepStatus.WAITING:
        assert frozenset(step.edges_taken) == fate.taken, node
        assert agrees(fate.output, step.output.value), node
    assert step.continued is (fate.fate is Fate.DEFAULTED)


def check_history(play: Told, chapter: list[RunFact], kept: Mapping[str, Expected], gifts: Gifts = NO_GIFTS) -> None:
    """Hold what happened since the run was begun or last retried against the laws that need no clock of our own."""
    check_starts(chapter, {*kept, *gifts})
    check_joins(play, chapter, kept)
    check_times(chapter)
    check_items(chapter)
    check_paid_once(play)


def check_gifts(chapter: list[RunFact], fates: Mapping[str, Expected]) -> None:
    """What a step gave is told of with its failure exactly where that is of a condition, and nothing leads on."""
    for fact in chapter:
        if not isinstance(fact, StepFailed):
            continue
        fate = fates[fact.node]
        if fact.gave is not None:
            assert fate.gave is not None, f"{fact.node} cannot have given anything"
            assert agrees(fate.gave.output, fact.gave.value), fact.node
        elif fate.gave is not None and fact.retry_at is None:
            assert fate.fate in {Fate.DEFAULTED, Fate.FELL_BACK}, f"what {fact.node} gave is lost"


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


def check_joins(play: Told, chapter: list[RunFact], kept: Mapping[str, Expected]) -> None:
    """Each step begins or is skipped once, after all the steps before it: because an edge was taken, or none was."""
    edges = play.plot.raw["edges"]
    taken = {place for fate in kept.values() for place in fate.taken}
    settled, fired = set(kept), set[str]()
    for fact in chapter:
        first = isinstance(fact, StepStarted) and fact.attempt == 1
        if first or isinstance(fact, StepSkipped):
            node = cast("StepStarted | StepSkipped", fact).node
            places = [place for place, one in enumerate(edges) if one["to"] == node]
            if isinstance(fact, StepSkipped) and node in kept:
                continue  # a fork tells of what its run had skipped
            assert node not in fired, f"{node} fires twice"
            assert {edges[place]["from"] for place in places} <= settled, f"{node} does not wait for all before it"
            assert first is (not places or not taken.isdisjoint(places)), f"{node} begins or is skipped wrongly"
            fired.add(node)
        settled |= settled_in([fact])
        if isinstance(fact, StepCompleted | StepFailed | StepReused):
            taken.update(fact.edges_taken)


def check_times(chapter: list[RunFact]) -> None:
    """Nothing that waits for a time goes on before it."""
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


def check_waits(play: Play, chapter: list[RunFact]) -> None:
    """A delay, and the wait before the next attempt, is as long as the graph says, and as the other side asks."""
    nodes = {one["id"]: one for one in play.plot.raw["nodes"]}
    cancelled = play.run.status is RunStatus.CANCELLED  # then an attempt that was cut short is told of, without a wait
    failures: Counter[str] = Counter()
    for fact in chapter:
        if isinstance(fact, StepWaiting) and fact.waiting_for is WaitFor.TIMER:
            assert fact.until == fact.waiting_since + timedelta(seconds=nodes[fact.node]["config"]["seconds"])
        if not isinstance(fact, StepFailed) or fact.retry_at is None:
            continue
        failures[fact.node] += fact.error.error_class is not ErrorClass.OWNER_LOST
        waited = (fact.retry_at - fact.failed_at).total_seconds()
        if waited or not (cancelled or fact.error.error_class is ErrorClass.OWNER_LOST):
            wanted = wait_after(nodes[fact.node], play.plot.behaviours[fact.node], failures[fact.node])
            assert waited == wanted, f"{fact.node} waits {waited} s"


def check_items(chapter: list[RunFact]) -> None:
    """Each end of a child is told of once, and one that completed is the only one of its item."""
    told: Counter[tuple[str, int, int]] = Counter()
    done: Counter[tuple[str, int]] = Counter()
    for fact in chapter:
        if isinstance(fact, StepItemsSettled):
            told.update((fact.node, fact.attempt, one.item) for one in fact.items)
            done.update((fact.node, one.item) for one in fact.items if one.outcome is ItemOutcome.COMPLETED)
    assert set(told.values()) | set(done.values()) <= {1}, "a child is told of twice"


def check_paid_once(play: Told) -> None:
    """What each call took is told of once, by a step or by the run, whatever has become of the step."""
    told = sum(getattr(fact, "usage", None) is not None for fact in play.facts)
    counted = len(play.run.earlier) + sum(len(list_usages(step)) for step in play.run.steps.values())
    assert told == counted, f"{told} calls were paid for, {counted} are told of"


def check_attempts(play: Play, fates: Mapping[str, Expected], kept: Mapping[str, Expected]) -> None:
    """Each step takes exactly its attempts, besides those that were lost with their engines."""
    for node, step in play.run.steps.items():
        if step.status in (StepStatus.COMPLETED, StepStatus.FAILED) and node not in kept:
            assert step.failures == fates[node].attempts, f"{node} took {step.failures} attempts"


def was_lost(fact: RunFact) -> bool:
    """Tell whether a fact says that an attempt was lost with its engine."""
    return isinstance(fact, StepFailed) and fact.error.error_class is ErrorClass.OWNER_LOST
