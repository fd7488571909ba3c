"""Step counts by kind and outcome."""

import msgspec

from domain.graphs.compiled import compile_graph
from domain.graphs.graph import ErrorClass, Graph
from domain.payload import Payload
from domain.runs.facts import StepCompleted, StepError, StepFailed, StepSkipped, StepStarted, StepWaiting, WaitFor
from engine.turns.step_counts import StepCounts
from tests.support.graphs import graph, node
from tests.support.projections.given import NOW

GRAPH = compile_graph(
    msgspec.convert(graph(node("pass", config={}), node("pause", "delay", config={"seconds": 5})), Graph)
)
ERROR = StepError(error_class=ErrorClass.TIMEOUT, message="late")


def test_each_outcome_is_counted_once_by_the_kind_of_its_step() -> None:
    tally = StepCounts()
    tally.add(
        GRAPH,
        [
            StepStarted(node="pass", attempt=1, executor="e", epoch=1, started_at=NOW),
            StepFailed(node="pass", attempt=1, error=ERROR, retry_at=NOW, failed_at=NOW),
            StepFailed(node="pass", attempt=2, error=ERROR, failed_at=NOW),
            StepCompleted(node="pass", attempt=3, output=Payload(), completed_at=NOW),
            StepWaiting(node="pause", attempt=1, waiting_for=WaitFor.TIMER, waiting_since=NOW),
            StepSkipped(node="of another graph", reason="nobody came"),
        ],
    )
    tally.add(GRAPH, [StepCompleted(node="pass", attempt=1, output=Payload(), completed_at=NOW)])
    assert tally.counts == {
        ("transform", "retried"): 1,
        ("transform", "failed"): 1,
        ("transform", "completed"): 2,
        ("delay", "waiting"): 1,
        ("unknown", "skipped"): 1,
    }
