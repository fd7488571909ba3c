"""The first turn of a run: all that is immediate in it, in one append, and no more than its bound."""

from datetime import timedelta
from itertools import pairwise
from random import Random

from commands.noun import RUN
from commands.turn import Turn
from domain.payload import Payload
from domain.run import Run
from domain.run_facts import Pins, RunCompleted, RunFact, RunStarted, StepCompleted, StepStarted
from engine.data import RunData
from engine.first_steps import MOST_AT_ONCE, do_at_once
from engine.progress import Owner, Progress
from engine.schedule import due_first
from engine.step import Gave
from tests.commands.scenario import folded
from tests.engine.play import NOBODY, STARTED_AT, Play
from tests.engine.random_graphs import Behaviour, Plot
from tests.fixtures.graphs import Json, edge, graph, node


def first_turn(*nodes: Json, takes: int = 0) -> tuple[RunFact, ...]:
    """Play the first turn of a run of steps in a chain; those that are not immediate take their time."""
    names = [one["id"] for one in nodes]
    raw = graph(*nodes, edges=[edge(source, target) for source, target in pairwise(names)])
    plot = Plot(raw=raw, inputs={}, behaviours=dict.fromkeys(names, Behaviour(output=1, takes=takes)))
    return Play(plot, Random(1)).begin().turns[1]  # noqa: S311  # the same each time


def told(facts: tuple[RunFact, ...]) -> list[tuple[type[RunFact], str]]:
    return [(type(fact), getattr(fact, "node", "")) for fact in facts]


def test_a_run_of_immediate_steps_ends_in_its_first_turn() -> None:
    assert told(first_turn(node("a"), node("b"))) == [
        (StepStarted, "a"),
        (StepCompleted, "a"),
        (StepStarted, "b"),
        (StepCompleted, "b"),
        (RunCompleted, ""),
    ]


def test_the_first_turn_ends_with_the_claim_of_a_step_that_is_not_immediate() -> None:
    model = node("p", "prompt", config={"model": "openai/gpt-5", "template": "Hi"})
    assert told(first_turn(node("a"), model, node("b"))) == [
        (StepStarted, "a"),
        (StepCompleted, "a"),
        (StepStarted, "p"),
    ]


def test_after_so_many_immediate_steps_the_next_is_only_claimed() -> None:
    facts = first_turn(*(node(f"n{place}") for place in range(3 * MOST_AT_ONCE)))
    assert sum(isinstance(fact, StepCompleted) for fact in facts) == MOST_AT_ONCE
    assert told(facts)[-1] == (StepStarted, f"n{MOST_AT_ONCE}")


def test_each_step_of_the_first_turn_ends_when_it_is_done() -> None:
    chain = Plot(raw=graph(node("a"), node("b"), edges=[edge("a", "b")]), inputs={}, behaviours={}).compiled
    run: Run = folded(
        RUN,
        RunStarted(
            workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=STARTED_AT
        ),
    )
    progress = Progress(
        turn=Turn(run, STARTED_AT),
        graph=chain,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )
    progress.carry_on(due_first(chain))
    times = iter([STARTED_AT + timedelta(seconds=1), STARTED_AT + timedelta(seconds=3)])
    do_at_once(progress, lambda _run, _node: Gave(1, Payload(value=1)), lambda: next(times))
    steps = progress.turn.run.steps
    assert [steps[name].ended_at for name in "ab"] == [STARTED_AT + timedelta(seconds=one) for one in (1, 3)]
    assert steps["b"].started_at == steps["a"].ended_at


def test_what_takes_long_is_left_to_a_turn_of_its_own() -> None:
    assert told(first_turn(node("a"), node("b"), takes=1)) == [(StepStarted, "a")]
