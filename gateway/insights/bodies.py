"""Response bodies of insights: counts, shares, percentiles in milliseconds, and money as decimal strings."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from gateway.http.ids import format_id
from gateway.insights.figures import DurationBody, UsageBody, compute_share, create_duration_body, create_usage_body
from projections.insights.figures import Figures, StepFigures, Window, WorkflowFigures
from projections.insights.measures import Measures
from projections.insights.recommendations.recommendation import Recommendation, Severity


class TimeWindow(Struct, frozen=True, kw_only=True):
    """The window of the figures, from one full hour to another (exclusive), and the length of each point."""

    starts_at: datetime
    ends_at: datetime
    series_seconds: int


class RunsBody(Struct, frozen=True, kw_only=True):
    """Runs. `waiting` is the number that wait now. A run that failed, was retried and completed counts as all three.

    `success_rate` is the share of completed runs among those that completed or failed; null if there are none.
    """

    started: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    waiting: int
    success_rate: float | None
    duration: DurationBody
    queue: DurationBody


class StepBody(Struct, frozen=True, kw_only=True):
    """A step. `retries` are failed attempts that were retried, `recovered` the steps that then completed."""

    node_id: str
    started: int
    completed: int
    failed: int
    cancelled: int
    skipped: int
    reused: int
    attempts: int
    retries: int
    recovered: int
    rejected_answers: int
    late_results: int
    truncated_answers: int
    errors: dict[str, int]
    duration: DurationBody
    human: "HumanBody | None"
    usage: UsageBody


class HumanBody(Struct, frozen=True, kw_only=True):
    """Human decisions by outcome, decisions made by the system at a deadline, and the time until the decision."""

    decided: int
    expired: int
    outcomes: dict[str, int]
    wait: DurationBody


class WorkflowBody(Struct, frozen=True, kw_only=True):
    """A workflow: its runs, including those started by a step of another workflow, and its steps."""

    workflow_id: str
    runs: RunsBody
    usage: UsageBody
    steps: list[StepBody]


class ModelBody(Struct, frozen=True, kw_only=True):
    """A model: the usage and latency of its calls, the time to the first token, and how many answers a limit cut."""

    model: str
    usage: UsageBody
    truncated_answers: int
    latency: DurationBody
    first_token: DurationBody


class PointBody(Struct, frozen=True, kw_only=True):
    """One hour or day of the window."""

    starts_at: datetime
    started: int
    completed: int
    failed: int
    cancelled: int
    success_rate: float | None
    duration: DurationBody
    usage: UsageBody


class MetricsBody(Struct, frozen=True, kw_only=True):
    """The figures: `runs` started by callers, `child_runs` started by steps, and the usage of all of them."""

    runs: RunsBody
    child_runs: int
    retries: int
    human_wait: DurationBody
    usage: UsageBody
    workflows: list[WorkflowBody]
    models: list[ModelBody]
    series: list[PointBody]


class RecommendationBody(Struct, frozen=True, kw_only=True):
    """A recommendation. `code` is stable for programs; `evidence` are the figures that it is based on."""

    code: str
    severity: Severity
    title: str
    detail: str
    evidence: Mapping[str, object]
    workflow_id: str
    node_id: str
    suggested_action: str


class InsightsBody(Struct, frozen=True, kw_only=True):
    """The insights of a project. The same question has the same `id`."""

    id: str
    project_id: str
    time_window: TimeWindow
    metrics: MetricsBody
    recommendations: list[RecommendationBody]


def create_insights_body(
    insights_id: str, project_id: UUID, figures: Figures, found: list[Recommendation]
) -> InsightsBody:
    """Return insights as they are sent; the most used workflows and models come first."""
    window = figures.window
    workflows = sorted(figures.workflows.items(), key=lambda item: (-item[1].runs.started, item[0].int))
    models = sorted(figures.models.items(), key=lambda item: (-item[1].cost_pico, -item[1].calls, item[0]))
    return InsightsBody(
        id=insights_id,
        project_id=format_id("prj", project_id),
        time_window=TimeWindow(starts_at=window.starts_at, ends_at=window.ends_at, series_seconds=window.series_grain),
        metrics=MetricsBody(
            runs=_create_runs(figures.runs, figures.waiting),
            child_runs=figures.children.started,
            retries=figures.steps.retries,
            human_wait=create_duration_body(figures.steps.human_wait),
            usage=create_usage_body(figures.steps),
            workflows=[
                _create_workflow(workflow_id, workflow) for workflow_id, workflow in workflows if workflow.present
            ],
            models=[_create_model(name, measures) for name, measures in models],
            series=[_create_point(at, figures.series.get(at) or Measures()) for at in _list_points(window)],
        ),
        recommendations=[_create_recommendation(recommendation) for recommendation in found],
    )


def _create_recommendation(recommendation: Recommendation) -> RecommendationBody:
    return RecommendationBody(
        code=recommendation.code,
        severity=recommendation.severity,
        title=recommendation.title,
        detail=recommendation.detail,
        evidence=recommendation.evidence,
        workflow_id=format_id("wf", recommendation.workflow_id),
        node_id=recommendation.node_id,
        suggested_action=recommendation.suggested_action,
    )


def _list_points(window: Window) -> list[datetime]:
    step = timedelta(seconds=window.series_grain)
    first = window.find_point_start(window.starts_at)
    return [first + step * index for index in range(-((first - window.ends_at) // step))]


def _create_runs(runs: Measures, waiting: int) -> RunsBody:
    return RunsBody(
        started=runs.started,
        completed=runs.completed,
        failed=runs.failed,
        cancelled=runs.cancelled,
        retried=runs.retried,
        waiting=waiting,
        success_rate=compute_share(runs.completed, runs.completed + runs.failed),
        duration=create_duration_body(runs.duration),
        queue=create_duration_body(runs.queue),
    )


def _create_workflow(workflow_id: UUID, workflow: WorkflowFigures) -> WorkflowBody:
    usage = Measures()
    for step in workflow.steps.values():
        usage.merge(step.now.copy_usage())
    return WorkflowBody(
        workflow_id=format_id("wf", workflow_id),
        runs=_create_runs(workflow.runs, workflow.waiting),
        usage=create_usage_body(usage),
        steps=[_create_step(node, step) for node, step in sorted(workflow.steps.items()) if step.present],
    )


def _create_step(node: str, figures: StepFigures) -> StepBody:
    step = figures.now
    decided = step.decided + step.expired
    return StepBody(
        node_id=node,
        started=step.started,
        completed=step.completed,
        failed=step.failed,
        cancelled=step.cancelled,
        skipped=step.skipped,
        reused=step.reused,
        attempts=step.attempts,
        retries=step.retries,
        recovered=step.recovered,
        rejected_answers=step.rejected,
        late_results=step.late,
        truncated_answers=step.truncated,
        errors=dict(sorted(step.errors.items())),
        duration=create_duration_body(step.duration),
        human=_create_human(step) if decided else None,
        usage=create_usage_body(step),
    )


def _create_human(step: Measures) -> HumanBody:
    return HumanBody(
        decided=step.decided,
        expired=step.expired,
        outcomes=dict(sorted(step.outcomes.items())),
        wait=create_duration_body(step.human_wait),
    )


def _create_model(name: str, measures: Measures) -> ModelBody:
    return ModelBody(
        model=name,
        usage=create_usage_body(measures),
        truncated_answers=measures.truncated,
        latency=create_duration_body(measures.latency),
        first_token=create_duration_body(measures.first_token),
    )


def _create_point(at: datetime, measures: Measures) -> PointBody:
    return PointBody(
        starts_at=at,
        started=measures.started,
        completed=measures.completed,
        failed=measures.failed,
        cancelled=measures.cancelled,
        success_rate=compute_share(measures.completed, measures.completed + measures.failed),
        duration=create_duration_body(measures.duration),
        usage=create_usage_body(measures),
    )
