"""The first turn of a run: all that is immediate in it, in one append, and no more than its bound."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from random import Random

from commands.aggregates import RUN
from commands.runs.turn import Turn
from domain.payload import Payload
from domain.runs.facts import Pins, RunCompleted, RunFact, RunStarted, StepCompleted, StepStarted
from domain.runs.run import Run, RunStatus
from engine.cluster.owner import Owner
from engine.failpoints import FailPoint
from engine.steps.contract import Succeeded
from engine.steps.run_data import RunData
from engine.turns.first_turn import INLINE_STEPS_MAX, INLINE_TIME_MAX, run_inline_steps
from engine.turns.schedule import find_due_at_start
from engine.turns.turn_builder import TurnBuilder
from tests.support.commands.scenario import fold_state
from tests.support.engine.harness import open_harness
from tests.support.engine.simulator.random_graphs import Behaviour, GraphCase
from tests.support.engine.simulator.simulator import NOBODY, STARTED_AT, Simulator
from tests.support.graphs import Json, edge, graph, node


def first_turn(*nodes: Json, takes: int = 0) -> tuple[RunFact, ...]:
    """Play the first turn of a run of steps in a chain; those that are not immediate take their time."""
    names = [raw_node["id"] for raw_node in nodes]
    raw = graph(*nodes, edges=[edge(source, target) for source, target in pairwise(names)])
    graph_case = GraphCase(raw=raw, inputs={}, behaviours=dict.fromkeys(names, Behaviour(output=1, takes=takes)))
    return Simulator(graph_case, Random(1)).begin().turns[1]  # noqa: S311  # the same each time


def summarize_facts(facts: tuple[RunFact, ...]) -> list[tuple[type[RunFact], str]]:
    return [(type(fact), getattr(fact, "node", "")) for fact in facts]


def test_a_run_of_immediate_steps_ends_in_its_first_turn() -> None:
    assert summarize_facts(first_turn(node("a"), node("b"))) == [
        (StepStarted, "a"),
        (StepCompleted, "a"),
        (StepStarted, "b"),
        (StepCompleted, "b"),
        (RunCompleted, ""),
    ]


def test_the_first_turn_ends_with_the_claim_of_a_step_that_is_not_immediate() -> None:
    model = node("p", "prompt", config={"model": "openai/gpt-5", "template": "Hi"})
    assert summarize_facts(first_turn(node("a"), model, node("b"))) == [
        (StepStarted, "a"),
        (StepCompleted, "a"),
        (StepStarted, "p"),
    ]


def test_after_so_many_immediate_steps_the_next_is_only_claimed() -> None:
    facts = first_turn(*(node(f"n{place}") for place in range(3 * INLINE_STEPS_MAX)))
    assert sum(isinstance(fact, StepCompleted) for fact in facts) == INLINE_STEPS_MAX
    assert summarize_facts(facts)[-1] == (StepStarted, f"n{INLINE_STEPS_MAX}")


def first_progress(*nodes: Json, edges: list[Json]) -> TurnBuilder:
    compiled = GraphCase(raw=graph(*nodes, edges=edges), inputs={}, behaviours={}).compiled_graph
    run: Run = fold_state(
        RUN,
        RunStarted(
            workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=STARTED_AT
        ),
    )
    progress = TurnBuilder(
        turn=Turn(run, STARTED_AT),
        graph=compiled,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )
    progress.schedule(find_due_at_start(compiled))
    return progress


def gives_one(_run: Run, _node: str) -> Succeeded:
    return Succeeded(1, Payload(value=1))


def test_each_step_of_the_first_turn_ends_when_it_is_done() -> None:
    progress = first_progress(node("a"), node("b"), edges=[edge("a", "b")])
    times = [STARTED_AT + timedelta(milliseconds=milliseconds) for milliseconds in (1, 1, 2)]
    run_inline_steps(progress, gives_one, iter(times).__next__)
    steps = progress.turn.run.steps
    assert [steps[name].ended_at for name in "ab"] == [times[0], times[-1]]
    assert steps["b"].started_at == steps["a"].ended_at


def test_a_step_that_is_not_done_at_once_is_attempted_no_more_than_once_in_the_turn() -> None:
    chain = [f"n{place}" for place in range(5)]
    edges = [edge(source, target) for source, target in pairwise(chain)]
    progress = first_progress(node("hard"), *(node(name) for name in chain), edges=edges)
    attempted: list[str] = []

    def attempt(_run: Run, name: str) -> Succeeded | None:
        attempted.append(name)
        return None if name == "hard" else gives_one(_run, name)

    run_inline_steps(progress, attempt, lambda: STARTED_AT)
    assert attempted == ["hard", *chain]
    assert progress.started == ["hard"]


def test_a_first_turn_that_has_taken_long_leaves_what_follows_to_the_next() -> None:
    wide = [f"n{place}" for place in range(5)]
    progress = first_progress(node("a"), *(node(name) for name in wide), edges=[edge("a", name) for name in wide])
    now = STARTED_AT

    def attempt(_run: Run, name: str) -> Succeeded:
        nonlocal now
        now += INLINE_TIME_MAX / 2
        return gives_one(_run, name)

    run_inline_steps(progress, attempt, lambda: now)
    assert [name for name, step in progress.turn.run.steps.items() if step.ended_at is not None] == ["a", "n0"]
    assert progress.started == wide[1:]


def test_more_first_steps_than_follow_in_a_turn_are_all_done_in_it() -> None:
    names = [f"n{place}" for place in range(3 * INLINE_STEPS_MAX)]
    progress = first_progress(*(node(name) for name in names), edges=[])
    run_inline_steps(progress, gives_one, lambda: STARTED_AT)
    assert progress.turn.run.status is RunStatus.COMPLETED


def test_first_steps_that_take_long_are_left_to_the_next_turn_but_for_one() -> None:
    names = [f"n{place}" for place in range(5)]
    progress = first_progress(*(node(name) for name in names), edges=[])
    now = STARTED_AT

    def attempt(_run: Run, name: str) -> Succeeded:
        nonlocal now
        now += INLINE_TIME_MAX
        return gives_one(_run, name)

    run_inline_steps(progress, attempt, lambda: now)
    assert progress.started == names[1:]


async def test_immediate_steps_never_hold_the_loop_for_long_however_many_there_are(database: str) -> None:
    """Each takes half a millisecond here, so that a turn is over after six or seven of them."""
    ticks = 0
    seen: list[int] = []

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    def takes_time(point: str) -> None:
        if point == FailPoint.INLINE:
            seen.append(ticks)
            until = time.perf_counter() + 0.000_5
            while time.perf_counter() < until:
                pass

    async with (
        open_harness(database) as harness,
        harness.run_engine(failpoint=takes_time),
        asyncio.TaskGroup() as group,
    ):
        ticking = group.create_task(tick())
        run = await harness.begin(graph(*(node(f"n{place}") for place in range(60))))
        await harness.wait_until_ended(run)
        ticking.cancel()
    assert len(seen) == 60
    assert max(Counter(seen).values()) <= 7


def test_what_takes_long_is_left_to_a_turn_of_its_own() -> None:
    assert summarize_facts(first_turn(node("a"), node("b"), takes=1)) == [(StepStarted, "a")]
