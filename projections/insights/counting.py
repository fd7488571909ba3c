"""Counting: which measures a fact adds to which buckets, given the timeline of its run."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from domain.runs.facts import (
    AnswerRejected,
    RunCancelled,
    RunCompleted,
    RunFact,
    RunFailed,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepFailed,
    StepResultRefused,
    StepReused,
    StepSkipped,
    StepStarted,
    Usage,
    WaitFor,
)
from domain.runs.steps import SETTLED, StepStatus
from projections.insights.buckets import AN_HOUR, HOUR, Kind, Origin, Place, compute_bucket_start, compute_hour
from projections.insights.measures import Measures
from projections.timelines.run_timeline import RunTimeline, UsageTotals

MICROSECOND: Final = timedelta(microseconds=1)
REST_OF_HOUR: Final = AN_HOUR - MICROSECOND
FIRST: Final = datetime.min.replace(tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)
OF_RUNS: Final = ""
"""The key of the run itself among the names of its steps, of which none is empty."""
OF_MODELS: Final = "/"
"""Precedes the name of a model among the names of steps, none of which contains a slash."""
SYSTEM: Final = "system"
"""The value of `decided_by` in `step.decided` for a decision at a deadline."""


class Counting:
    """The measures that a batch of facts adds, by place and hour.

    A fact counts in the hour of its own time. Count it before the run's timeline folds it, except for the start of a
    run: nothing is known of the run before. Facts come run by run.
    """

    def __init__(self) -> None:
        """Create empty measures."""
        self.news: dict[tuple[Place, int], Measures] = {}
        self.origins: dict[Place, Origin] = {}
        self._timeline: RunTimeline
        self._hour, self._hour_from, self._hour_to = 0, LAST, FIRST  # no hour is known yet
        self._nears: dict[tuple[int, int, int, bool, int], dict[str, Measures]] = {}
        self._near: dict[str, Measures] = {}

    def select_run(self, timeline: RunTimeline) -> None:
        """Count the facts that follow for this run."""
        self._timeline = timeline
        self._near = self._measures_nearby(timeline)

    def _measures_nearby(self, timeline: RunTimeline) -> dict[str, Measures]:
        """Return the measures by step, and of the run under "", that similar runs share in the current hour.

        Creating a place takes 1 µs; runs of one workflow version without pinned assets have the same places.
        """
        if timeline.assets:
            return {}
        shared_key = (
            timeline.project_id.int,
            timeline.workflow_id.int,
            timeline.workflow_version,
            timeline.child,
            self._hour,
        )
        return self._nears.setdefault(shared_key, {})

    def count(self, fact: RunFact, recorded_at: datetime) -> None:
        """Count one fact of a run."""
        # The most frequent kinds first: each comparison before the right one costs 40 ns.
        if type(fact) is StepStarted:
            self._count_step_started(fact)
        elif type(fact) is StepCompleted:
            self._count_step_completed(fact)
        elif type(fact) is RunStarted:
            self.select_run(self._timeline)  # the workflow is known from this fact on
            self._run_measures(fact.started_at).started += 1
        elif type(fact) is RunCompleted:
            measures = self._run_measures(fact.completed_at)
            measures.completed += 1
            if self._timeline.began_at is not None:
                measures.add_duration("duration", compute_microseconds(self._timeline.began_at, fact.completed_at))
        else:
            self._count_rare(fact, recorded_at)

    def _count_rare(self, fact: RunFact, recorded_at: datetime) -> None:
        match fact:
            case StepFailed():
                self._count_step_failed(fact)
            case StepDecided():
                self._count_decision(fact)
            case StepSkipped(node=node):
                self._step_measures(node, recorded_at).skipped += 1
            case StepReused(node=node, reused_at=at):
                self._step_measures(node, at).reused += 1
            case AnswerRejected(node=node, rejected_at=at):
                self._step_measures(node, at).rejected += 1
                self._count_usage(node, fact.usage, at)
            case StepResultRefused(node=node, refused_at=at):
                self._step_measures(node, at).late += 1
                self._count_usage(node, fact.usage, at)
            case RunFailed(failed_at=at):
                self._run_measures(at).failed += 1
                self._count_cancelled_steps(at)
            case RunCancelled(cancelled_at=at):
                self._run_measures(at).cancelled += 1
                self._count_cancelled_steps(at)
            case RunRetried(retried_at=at):
                self._run_measures(at).retried += 1
            case _:
                pass

    def _count_step_started(self, fact: StepStarted) -> None:
        timeline, at = self._timeline, fact.started_at
        if timeline.picked_up_at is None and timeline.began_at is not None:
            self._run_measures(at).add_duration("queue", compute_microseconds(timeline.began_at, at))
        measures = self._step_measures(fact.node, at)
        measures.attempts += 1
        if fact.node not in timeline.steps:
            measures.started += 1

    def _count_step_completed(self, fact: StepCompleted) -> None:
        step = self._timeline.steps.get(fact.node)
        measures = self._step_measures(fact.node, fact.completed_at)
        measures.completed += 1
        if fact.attempt > 1:
            measures.recovered += 1
        for edge in fact.edges_taken:
            measures.edges[edge] = measures.edges.get(edge, 0) + 1
        if step is not None and step.started_at is not None and step.status is not StepStatus.GIVEN:
            measures.add_duration("duration", compute_microseconds(step.started_at, fact.completed_at))
        if fact.usage is not None:
            self._count_usage(fact.node, fact.usage, fact.completed_at)

    def _count_step_failed(self, fact: StepFailed) -> None:
        measures = self._step_measures(fact.node, fact.failed_at)
        if fact.retry_at is None:
            measures.failed += 1
        else:
            measures.retries += 1
        for edge in fact.edges_taken:
            measures.edges[edge] = measures.edges.get(edge, 0) + 1
        error = fact.error.error_class.value
        measures.errors[error] = measures.errors.get(error, 0) + 1
        self._count_usage(fact.node, fact.usage, fact.failed_at)

    def _count_decision(self, fact: StepDecided) -> None:
        measures = self._step_measures(fact.node, fact.decided_at)
        if fact.decided_by == SYSTEM:
            measures.expired += 1
        else:
            measures.decided += 1
        measures.outcomes[fact.outcome] = measures.outcomes.get(fact.outcome, 0) + 1
        step = self._timeline.steps.get(fact.node)
        if step is not None and step.waiting_since is not None and step.waiting_for is WaitFor.HUMAN:
            measures.add_duration("human_wait", compute_microseconds(step.waiting_since, fact.decided_at))

    def _count_cancelled_steps(self, at: datetime) -> None:
        """Count the steps that were open when their run failed or was cancelled."""
        for node, step in self._timeline.steps.items():
            if step.status not in SETTLED:
                self._step_measures(node, at).cancelled += 1

    def _count_usage(self, node: str, usage: Usage | None, at: datetime) -> None:
        if usage is None:
            return
        totals = UsageTotals()
        totals.add(usage)
        self._step_measures(node, at).add_usage(totals)
        model = self._model_measures(usage.model, at)
        if usage.truncated:
            self._step_measures(node, at).truncated += 1
            model.truncated += 1
        model.add_usage(totals)
        model.add_duration("latency", round(usage.latency_ms * 1_000))
        if usage.first_token_ms is not None:
            model.add_duration("first_token", round(usage.first_token_ms * 1_000))

    def _run_measures(self, at: datetime) -> Measures:
        measures = self._find_measures(OF_RUNS, at)
        if measures is None:
            timeline = self._timeline
            kind = Kind.CHILD if timeline.child else Kind.RUN
            place = Place(timeline.project_id.int, timeline.workflow_id.int, kind, timeline.workflow_version)
            measures = self._near[OF_RUNS] = self._add_measures(place, timeline.workspace_id, None, self._hour)
        return measures

    def _step_measures(self, node: str, at: datetime) -> Measures:
        measures = self._find_measures(node, at)
        if measures is None:
            measures = self._near[node] = self._add_step_measures(node)
        return measures

    def _model_measures(self, model: str, at: datetime) -> Measures:
        name = f"{OF_MODELS}{model}"
        measures = self._find_measures(name, at)
        if measures is None:
            timeline = self._timeline
            place = Place(timeline.project_id.int, timeline.workflow_id.int, Kind.MODEL, 0, model=model)
            measures = self._near[name] = self._add_measures(place, timeline.workspace_id, None, self._hour)
        return measures

    def _find_measures(self, name: str, at: datetime) -> Measures | None:
        if not self._hour_from <= at <= self._hour_to:  # half the cost of computing the hour
            self._hour = compute_hour(at)
            self._hour_from = compute_bucket_start(HOUR, self._hour)
            self._hour_to = self._hour_from + REST_OF_HOUR
            self._near = self._measures_nearby(self._timeline)
        return self._near.get(name)

    def _add_step_measures(self, node: str) -> Measures:
        timeline = self._timeline
        asset_id, asset_version = timeline.find_asset(node)
        place = Place(
            timeline.project_id.int,
            timeline.workflow_id.int,
            Kind.STEP,
            timeline.workflow_version,
            node,
            asset_version=asset_version,
        )
        return self._add_measures(place, timeline.workspace_id, asset_id, self._hour)

    def _add_measures(self, place: Place, workspace_id: UUID, asset_id: UUID | None, hour: int) -> Measures:
        key = place, hour
        measures = self.news.get(key)
        if measures is None:
            measures = self.news[key] = Measures()
            self.origins[place] = Origin(workspace_id, asset_id)
        return measures


def compute_microseconds(start: datetime, end: datetime) -> int:
    """Return the microseconds between two times, 0 if the clocks of two machines disagree about their order."""
    return max(0, (end - start) // MICROSECOND)
