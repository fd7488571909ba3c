"""Insights as they are sent: counts, shares, percentiles in milliseconds, and money as decimal strings."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from gateway.http.ids import shown_id
from gateway.insights.figures import DurationBody, UsageBody, duration_body, share_of, usage_body
from projections.insights.figures import Figures, StepFigures, Window, WorkflowFigures
from projections.insights.measures import Measures
from projections.insights.recommendations.recommendation import Recommendation, Severity


class TimeWindow(Struct, frozen=True, kw_only=True):
    """What the figures are of: from one full hour to another, the end left out, and how long each point is."""

    starts_at: datetime
    ends_at: datetime
    series_seconds: int


class RunsBody(Struct, frozen=True, kw_only=True):
    """Runs. `waiting` is how many wait now; a run that failed, was retried and completed counts as each of the three.

    `success_rate` is the share of the completed in those that completed or failed; null where none did.
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
    """A step. `retries` are attempts that failed and were made again, `recovered` steps that completed after that."""

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
    errors: dict[str, int]
    duration: DurationBody
    human: "HumanBody | None"
    usage: UsageBody


class HumanBody(Struct, frozen=True, kw_only=True):
    """Decisions of people: by outcome, those that the system made at a deadline, and how long they were waited for."""

    decided: int
    expired: int
    outcomes: dict[str, int]
    wait: DurationBody


class WorkflowBody(Struct, frozen=True, kw_only=True):
    """A workflow: its runs, also those that a step of another began, and its steps."""

    workflow_id: str
    runs: RunsBody
    usage: UsageBody
    steps: list[StepBody]


class ModelBody(Struct, frozen=True, kw_only=True):
    """A model: what its calls took, and how long they and their first tokens were waited for."""

    model: str
    usage: UsageBody
    latency: DurationBody
    first_token: DurationBody


class PointBody(Struct, frozen=True, kw_only=True):
    """What happened in an hour, or a day, of the window."""

    starts_at: datetime
    started: int
    completed: int
    failed: int
    cancelled: int
    success_rate: float | None
    duration: DurationBody
    usage: UsageBody


class MetricsBody(Struct, frozen=True, kw_only=True):
    """The figures: `runs` that somebody started, `child_runs` those that steps began, and what all of them took."""

    runs: RunsBody
    child_runs: int
    retries: int
    human_wait: DurationBody
    usage: UsageBody
    workflows: list[WorkflowBody]
    models: list[ModelBody]
    series: list[PointBody]


class RecommendationBody(Struct, frozen=True, kw_only=True):
    """What a rule found: `code` is stable for programs, `evidence` the figures that it rests on."""

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


def insights_body(insights_id: str, project_id: UUID, figures: Figures, found: list[Recommendation]) -> InsightsBody:
    """Write insights for the wire; what took part most comes first."""
    window = figures.window
    workflows = sorted(figures.workflows.items(), key=lambda one: (-one[1].runs.started, one[0].int))
    models = sorted(figures.models.items(), key=lambda one: (-one[1].cost_pico, -one[1].calls, one[0]))
    return InsightsBody(
        id=insights_id,
        project_id=shown_id("prj", project_id),
        time_window=TimeWindow(starts_at=window.starts_at, ends_at=window.ends_at, series_seconds=window.series_grain),
        metrics=MetricsBody(
            runs=_runs(figures.runs, figures.waiting),
            child_runs=figures.children.started,
            retries=figures.steps.retries,
            human_wait=duration_body(figures.steps.human_wait),
            usage=usage_body(figures.steps),
            workflows=[_workflow(workflow_id, one) for workflow_id, one in workflows if one.present],
            models=[_model(name, measures) for name, measures in models],
            series=[_point(at, figures.series.get(at) or Measures()) for at in _points(window)],
        ),
        recommendations=[_recommendation(one) for one in found],
    )


def _recommendation(one: Recommendation) -> RecommendationBody:
    return RecommendationBody(
        code=one.code,
        severity=one.severity,
        title=one.title,
        detail=one.detail,
        evidence=one.evidence,
        workflow_id=shown_id("wf", one.workflow_id),
        node_id=one.node_id,
        suggested_action=one.suggested_action,
    )


def _points(window: Window) -> list[datetime]:
    step = timedelta(seconds=window.series_grain)
    first = window.point_of(window.starts_at)
    return [first + step * place for place in range(-((first - window.ends_at) // step))]


def _runs(runs: Measures, waiting: int) -> RunsBody:
    return RunsBody(
        started=runs.started,
        completed=runs.completed,
        failed=runs.failed,
        cancelled=runs.cancelled,
        retried=runs.retried,
        waiting=waiting,
        success_rate=share_of(runs.completed, runs.completed + runs.failed),
        duration=duration_body(runs.duration),
        queue=duration_body(runs.queue),
    )


def _workflow(workflow_id: UUID, workflow: WorkflowFigures) -> WorkflowBody:
    usage = Measures()
    for step in workflow.steps.values():
        usage.merge(step.now.usage())
    return WorkflowBody(
        workflow_id=shown_id("wf", workflow_id),
        runs=_runs(workflow.runs, workflow.waiting),
        usage=usage_body(usage),
        steps=[_step(node, step) for node, step in sorted(workflow.steps.items()) if step.present],
    )


def _step(node: str, figures: StepFigures) -> StepBody:
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
        errors=dict(sorted(step.errors.items())),
        duration=duration_body(step.duration),
        human=_human(step) if decided else None,
        usage=usage_body(step),
    )


def _human(step: Measures) -> HumanBody:
    return HumanBody(
        decided=step.decided,
        expired=step.expired,
        outcomes=dict(sorted(step.outcomes.items())),
        wait=duration_body(step.human_wait),
    )


def _model(name: str, measures: Measures) -> ModelBody:
    return ModelBody(
        model=name,
        usage=usage_body(measures),
        latency=duration_body(measures.latency),
        first_token=duration_body(measures.first_token),
    )


def _point(at: datetime, measures: Measures) -> PointBody:
    return PointBody(
        starts_at=at,
        started=measures.started,
        completed=measures.completed,
        failed=measures.failed,
        cancelled=measures.cancelled,
        success_rate=share_of(measures.completed, measures.completed + measures.failed),
        duration=duration_body(measures.duration),
        usage=usage_body(measures),
    )
