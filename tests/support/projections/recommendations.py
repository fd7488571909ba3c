"""Histories of runs as rules see them: folded and counted by the same code as in the projection, without a database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from domain.graphs.configs import PromptConfig
from domain.graphs.graph import Edge, ErrorClass, Graph, Node, PromptNode, TransformNode, get_node_kind
from domain.ids import from_uuid
from domain.payload import NOTHING
from domain.runs.facts import (
    AnswerRejected,
    Pins,
    RunCompleted,
    RunFact,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from projections.insights.buckets import HOUR, compute_bucket_start
from projections.insights.counting import Counting
from projections.insights.figures import Bucket, Figures, Window
from projections.insights.recommendations.recommendation import Recommendation, Rule, RuleInput, Thresholds
from projections.timelines.run_timeline import NodeInfo, RunTimeline
from tests.support.projections.given import new_id

WORKFLOW: Final = UUID("0192f000-0000-7000-8000-00000000f10e")
PROJECT: Final = UUID("0192f000-0000-7000-8000-0000000000aa")
PROMPT: Final = UUID("0192f000-0000-7000-8000-00000000a55e")
WINDOW: Final = Window(
    starts_at=datetime(2026, 5, 8, tzinfo=UTC), ends_at=datetime(2026, 5, 8, tzinfo=UTC) + timedelta(days=7)
)
NOW: Final = WINDOW.starts_at + timedelta(days=3)
PAST: Final = WINDOW.starts_at - timedelta(days=3)
DRAFT: Final = PromptNode(id="draft", config=PromptConfig(model="gate/big", asset_id=from_uuid("ast", PROMPT)))
EDIT: Final = TransformNode(id="edit")
GRAPH: Final = Graph(
    nodes=(DRAFT, EDIT, TransformNode(id="extra")),
    edges=(
        Edge(source="draft", target="edit"),
        Edge(source="draft", target="extra", when="inputs.extra"),
    ),
)
SECOND: Final = timedelta(seconds=1)


def start_run(at: datetime, *, asset_version: int = 1) -> RunStarted:
    pins = Pins(assets={PROMPT: asset_version})
    return RunStarted(workflow_id=WORKFLOW, workflow_version=1, inputs=NOTHING, pins=pins, started_at=at)


def claim_step(at: datetime, node: str = "draft", attempt: int = 1) -> StepStarted:
    return StepStarted(node=node, attempt=attempt, executor="e", epoch=1, started_at=at)


def complete_step(
    at: datetime, node: str = "draft", attempt: int = 1, *, edges: tuple[int, ...] = (0,), cost: str | None = None
) -> StepCompleted:
    usage = Usage(model="gate/big", input_tokens=100, output_tokens=10, latency_ms=900, cost_usd=cost)
    return StepCompleted(
        node=node,
        attempt=attempt,
        output=NOTHING,
        edges_taken=edges,
        usage=usage if cost is not None else None,
        completed_at=at,
    )


def fail_step(
    at: datetime,
    node: str = "draft",
    attempt: int = 1,
    *,
    again: bool = False,
    error_class: ErrorClass = ErrorClass.TIMEOUT,
) -> StepFailed:
    error = StepError(error_class=error_class, message="too late")
    return StepFailed(node=node, attempt=attempt, error=error, retry_at=at if again else None, failed_at=at)


def reject_answer(at: datetime) -> AnswerRejected:
    return AnswerRejected(node="draft", attempt=1, repair=1, problems=("no",), rejected_at=at)


def wait_for_review(at: datetime, node: str = "review") -> StepWaiting:
    return StepWaiting(node=node, attempt=1, waiting_for=WaitFor.HUMAN, waiting_since=at)


def decide_step(at: datetime, node: str = "review") -> StepDecided:
    return StepDecided(node=node, outcome="approve", data=NOTHING, decided_by="ada", shown_hash=None, decided_at=at)


def end_run(at: datetime) -> RunCompleted:
    return RunCompleted(output_nodes=(), completed_at=at)


def create_completed_run(at: datetime, *, lasts: timedelta = SECOND, **of_completed: Any) -> list[RunFact]:  # noqa: ANN401  # fields of several types
    """Return the facts of a run whose draft completes at the first attempt."""
    return [start_run(at), claim_step(at), complete_step(at + lasts, **of_completed), end_run(at + lasts)]


def create_failed_run(at: datetime, error_class: ErrorClass = ErrorClass.TIMEOUT) -> list[RunFact]:
    """Return the facts of a run whose draft fails for good."""
    return [start_run(at), claim_step(at), fail_step(at + SECOND, error_class=error_class)]


def observe(runs: Sequence[Sequence[RunFact]], graph: Graph = GRAPH) -> RuleInput:
    """Return the input of the rules for these runs."""
    counting = Counting()
    for run in runs:
        course = RunTimeline(id=new_id(), workspace_id=PROJECT, project_id=PROJECT, nodes=describe_nodes(graph.nodes))
        counting.select_run(course)
        for fact in run:
            if not isinstance(fact, RunStarted):
                counting.count(fact, NOW)
            course.apply(fact)
            if isinstance(fact, RunStarted):
                counting.count(fact, NOW)
    figures = Figures(window=WINDOW)
    for (place, hour), measures in counting.news.items():
        figures.add(
            Bucket(
                past=compute_bucket_start(HOUR, hour) < WINDOW.starts_at,
                starts_at=compute_bucket_start(HOUR, hour),
                kind=place.kind,
                workflow_id=UUID(int=place.workflow),
                workflow_version=place.version,
                node=place.node,
                model=place.model,
                asset_version=place.asset_version,
                asset_id=counting.origins[place].asset_id,
                measures=measures,
            )
        )
    return RuleInput(figures=figures, graphs={WORKFLOW: (1, graph)})


def describe_nodes(nodes: tuple[Node, ...]) -> dict[str, NodeInfo]:
    return {node.id: NodeInfo(get_node_kind(node), PROMPT if node.id == "draft" else None) for node in nodes}


def apply_rule(rule: Rule, runs: Sequence[Sequence[RunFact]], graph: Graph = GRAPH) -> list[Recommendation]:
    return list(rule(observe(runs, graph), Thresholds()))
