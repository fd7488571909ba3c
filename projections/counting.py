"""Counting: which figures a fact adds to which buckets, given how far its run has come."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.run_facts import (
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
from domain.run_steps import SETTLED, StepStatus
from projections.courses import RunCourse, Spent
from projections.insight_buckets import Kind, Origin, Place, hour_of
from projections.measures import Measures

MICROSECOND: Final = timedelta(microseconds=1)
SYSTEM: Final = "system"
"""Who decided at a deadline, as `step.decided` names it."""


class Counting:
    """The figures that a batch of facts adds, by place and hour.

    A fact counts in the hour of its own time. It has to be counted before its run's course takes it, or after for the
    start of a run, since before that nothing is known of it. Facts come run by run.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.news: dict[tuple[Place, int], Measures] = {}
        self.origins: dict[Place, Origin] = {}
        self._course: RunCourse
        self._near: dict[tuple[str, int], Measures] = {}

    def turn_to(self, course: RunCourse) -> None:
        """Count facts of this run from now on."""
        self._course = course
        self._near = {}

    def count(self, fact: RunFact, recorded_at: datetime) -> None:
        """Count one fact of a run."""
        match fact:
            case StepStarted():
                self._claimed(fact)
            case StepCompleted():
                self._completed(fact)
            case StepFailed():
                self._failed(fact)
            case StepDecided():
                self._decided(fact)
            case StepSkipped(node=node):
                self._step(node, recorded_at).skipped += 1
            case StepReused(node=node, reused_at=at):
                self._step(node, at).reused += 1
            case AnswerRejected(node=node, rejected_at=at):
                self._step(node, at).rejected += 1
                self._used(node, fact.usage, at)
            case StepResultRefused(node=node, refused_at=at):
                self._step(node, at).late += 1
                self._used(node, fact.usage, at)
            case _:
                self._count_run(fact)

    def _count_run(self, fact: RunFact) -> None:
        match fact:
            case RunStarted(started_at=at):
                self._run(at).started += 1
            case RunCompleted(completed_at=at):
                measures = self._run(at)
                measures.completed += 1
                if self._course.began_at is not None:
                    measures.lasted("duration", us_between(self._course.began_at, at))
            case RunFailed(failed_at=at):
                self._run(at).failed += 1
                self._closed(at)
            case RunCancelled(cancelled_at=at):
                self._run(at).cancelled += 1
                self._closed(at)
            case RunRetried(retried_at=at):
                self._run(at).retried += 1
            case _:
                pass

    def _claimed(self, fact: StepStarted) -> None:
        if self._course.picked_up_at is None and self._course.began_at is not None:
            self._run(fact.started_at).lasted("queue", us_between(self._course.began_at, fact.started_at))
        measures = self._step(fact.node, fact.started_at)
        measures.attempts += 1
        if fact.node not in self._course.steps:
            measures.started += 1

    def _completed(self, fact: StepCompleted) -> None:
        step = self._course.steps.get(fact.node)
        measures = self._step(fact.node, fact.completed_at)
        measures.completed += 1
        if fact.attempt > 1:
            measures.recovered += 1
        for edge in fact.edges_taken:
            measures.edges[edge] = measures.edges.get(edge, 0) + 1
        if step is not None and step.started_at is not None and step.status is not StepStatus.GIVEN:
            measures.lasted("duration", us_between(step.started_at, fact.completed_at))
        self._used(fact.node, fact.usage, fact.completed_at)

    def _failed(self, fact: StepFailed) -> None:
        measures = self._step(fact.node, fact.failed_at)
        if fact.retry_at is None:
            measures.failed += 1
        else:
            measures.retries += 1
        for edge in fact.edges_taken:
            measures.edges[edge] = measures.edges.get(edge, 0) + 1
        error = fact.error.error_class.value
        measures.errors[error] = measures.errors.get(error, 0) + 1
        self._used(fact.node, fact.usage, fact.failed_at)

    def _decided(self, fact: StepDecided) -> None:
        measures = self._step(fact.node, fact.decided_at)
        if fact.decided_by == SYSTEM:
            measures.expired += 1
        else:
            measures.decided += 1
        measures.outcomes[fact.outcome] = measures.outcomes.get(fact.outcome, 0) + 1
        step = self._course.steps.get(fact.node)
        if step is not None and step.waiting_since is not None and step.waiting_for is WaitFor.HUMAN:
            measures.lasted("human_wait", us_between(step.waiting_since, fact.decided_at))

    def _closed(self, at: datetime) -> None:
        """Count the steps that had not settled when their run failed or was cancelled."""
        for node, step in self._course.steps.items():
            if step.status not in SETTLED:
                self._step(node, at).cancelled += 1

    def _used(self, node: str, usage: Usage | None, at: datetime) -> None:
        if usage is None:
            return
        spent = Spent()
        spent.add(usage)
        self._step(node, at).use(spent)
        model = self._at(
            Place(self._course.project_id.int, self._course.workflow_id.int, Kind.MODEL, 0, model=usage.model),
            self._course.workspace_id,
            None,
            hour_of(at),
        )
        model.use(spent)
        model.lasted("latency", round(usage.latency_ms * 1_000))
        if usage.first_token_ms is not None:
            model.lasted("first_token", round(usage.first_token_ms * 1_000))

    def _run(self, at: datetime) -> Measures:
        course = self._course
        kind = Kind.CHILD if course.child else Kind.RUN
        place = Place(course.project_id.int, course.workflow_id.int, kind, course.workflow_version)
        return self._at(place, course.workspace_id, None, hour_of(at))

    def _step(self, node: str, at: datetime) -> Measures:
        near = node, hour_of(at)
        measures = self._near.get(near)
        if measures is None:
            measures = self._near[near] = self._step_at(node, near[1])
        return measures

    def _step_at(self, node: str, hour: int) -> Measures:
        course = self._course
        asset_id, asset_version = course.asset_of(node)
        place = Place(
            course.project_id.int,
            course.workflow_id.int,
            Kind.STEP,
            course.workflow_version,
            node,
            asset_version=asset_version,
        )
        return self._at(place, course.workspace_id, asset_id, hour)

    def _at(self, place: Place, workspace_id: UUID, asset_id: UUID | None, hour: int) -> Measures:
        key = place, hour
        measures = self.news.get(key)
        if measures is None:
            measures = self.news[key] = Measures()
            self.origins[place] = Origin(workspace_id, asset_id)
        return measures


def us_between(start: datetime, end: datetime) -> int:
    """Give how long it was in microseconds; nothing where clocks of two machines say that it was less."""
    return max(0, (end - start) // MICROSECOND)
