"""One turn of a run: what results come to in it."""

from datetime import UTC, datetime
from random import Random

from commands.noun import RUN
from commands.run_again import kept_by_retry
from commands.run_kept import with_given_output
from commands.turn import Turn
from domain.graph import ErrorClass
from domain.payload import Payload
from domain.run import Run
from domain.run_facts import (
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunFailed,
    RunStarted,
    StepCompleted,
    StepError,
    StepFailed,
    StepResultRefused,
    StepStarted,
    Usage,
)
from engine.data import RunData
from engine.progress import Owner, Progress
from engine.schedule import due_again
from engine.step import Failed, Gave, TryAgain
from tests.commands.scenario import folded
from tests.engine.play import NOBODY
from tests.engine.random_graphs import Plot
from tests.fixtures.graphs import edge, graph, node

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSY = StepError(error_class=ErrorClass.OVERLOADED, message="busy")
GRAPH = Plot(raw=graph(node("a")), inputs={}, behaviours={}).compiled


def test_an_attempt_whose_time_comes_as_the_run_is_cancelled_is_not_claimed() -> None:
    run: Run = folded(
        RUN,
        RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW),
        StepStarted(node="a", attempt=1, executor="engine", epoch=1, started_at=NOW),
        StepFailed(node="a", attempt=1, error=BUSY, retry_at=NOW, failed_at=NOW),
        RunCancelRequested(requested_by="ada", requested_at=NOW),
    )
    progress = Progress(
        turn=Turn(run, NOW),
        graph=GRAPH,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )
    progress.settle([("a", TryAgain())])
    progress.carry_on(due_again(GRAPH, progress.turn.run))
    assert progress.turn.facts == [RunCancelled(cancelled_at=NOW)]
    assert progress.started == []


PAID = Usage(model="m", input_tokens=1, output_tokens=1, latency_ms=1.0)
UNDECIDABLE = Plot(
    raw=graph(
        *(node(name) for name in "abcde"),
        edges=[
            edge("a", "e", when="steps.a.output.nope == 1"),
            edge("b", "e"),
            edge("c", "e", when="steps.c.output.nope == 1"),
        ],
    ),
    inputs={},
    behaviours={},
).compiled


def progress_of(run: Run) -> Progress:
    return Progress(
        turn=Turn(run, NOW),
        graph=UNDECIDABLE,
        data=RunData({}),
        owner=Owner("engine", 1),
        random=Random(1),  # noqa: S311  # jitter
        started=[],
    )


def test_every_answer_of_a_turn_is_kept_though_conditions_behind_two_of_them_fail() -> None:
    started = [StepStarted(node=name, attempt=1, executor="engine", epoch=1, started_at=NOW) for name in "abcd"]
    begun = RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW)
    progress = progress_of(folded(RUN, begun, *started))
    gave = [(name, Gave(name, Payload(value=name), PAID)) for name in "abc"]
    progress.settle([("d", Failed(BUSY, usage=PAID)), *gave])
    told = [(type(fact), getattr(fact, "node", "")) for fact in progress.turn.facts]
    assert told == [
        (StepFailed, "a"),
        (StepCompleted, "b"),
        (StepFailed, "c"),
        (StepResultRefused, "d"),
        (RunFailed, "a"),
    ]
    kept = [fact.gave for fact in progress.turn.facts if isinstance(fact, StepFailed)]
    assert kept == [Payload(value="a"), Payload(value="c")]
    assert tuple(kept_by_retry(progress.turn.run)) == ("b",)
    assert with_given_output(progress.turn.run) == ("a", "c")


def test_no_attempt_is_claimed_in_the_turn_in_which_a_condition_ends_the_run() -> None:
    started = [StepStarted(node=name, attempt=1, executor="engine", epoch=1, started_at=NOW) for name in "ab"]
    begun = RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=NOW)
    waits = StepFailed(node="b", attempt=1, error=BUSY, retry_at=NOW, failed_at=NOW)
    progress = progress_of(folded(RUN, begun, *started, waits))
    progress.settle([("a", Gave("a", Payload(value="a"))), ("b", TryAgain())])
    assert [type(fact) for fact in progress.turn.facts] == [StepFailed, RunFailed]
    assert progress.started == []
