"""One turn of a run: what results come to in it."""

from datetime import UTC, datetime
from random import Random

from commands.noun import RUN
from commands.turn import Turn
from domain.graph import ErrorClass
from domain.payload import Payload
from domain.run import Run
from domain.run_facts import (
    Pins,
    RunCancelled,
    RunCancelRequested,
    RunStarted,
    StepError,
    StepFailed,
    StepStarted,
)
from engine.data import RunData
from engine.progress import Owner, Progress
from engine.schedule import due_again
from engine.step import TryAgain
from tests.commands.scenario import folded
from tests.engine.play import NOBODY
from tests.engine.random_graphs import Plot
from tests.fixtures.graphs import graph, node

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
