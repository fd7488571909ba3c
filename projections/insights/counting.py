"""Counting: which figures a fact adds to which buckets, given how far its run has come."""

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
from projections.insights.buckets import AN_HOUR, HOUR, Kind, Origin, Place, hour_of, start_of
from projections.insights.measures import Measures
from projections.read_models.run_timeline import RunCourse, Spent

MICROSECOND: Final = timedelta(microseconds=1)
REST_OF_HOUR: Final = AN_HOUR - MICROSECOND
FIRST: Final = datetime.min.replace(tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)
OF_RUNS: Final = ""
"""Stands for the run itself among the names of its steps, of which none is empty."""
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
        self._hour, self._hour_from, self._hour_to = 0, LAST, FIRST  # no hour yet
        self._nears: dict[tuple[int, int, int, bool, int], dict[str, Measures]] = {}
        self._near: dict[str, Measures] = {}

    def turn_to(self, course: RunCourse) -> None:
        """Count facts of this run from now on."""
        self._course = course
        self._near = self._near_of(course)

    def _near_of(self, course: RunCourse) -> dict[str, Measures]:
        """Give the figures by step, and those of runs under no name, that runs like this one add to in this hour.

        A place is dear to name (1 µs), and runs of one version have theirs in common, but for the assets they pin.
        """
        if course.assets:
            return {}
        alike = course.project_id.int, course.workflow_id.int, course.workflow_version, course.child, self._hour
        return self._nears.setdefault(alike, {})

    def count(self, fact: RunFact, recorded_at: datetime) -> None:
        """Count one fact of a run."""
        # What nearly every fact is, first: each kind that is asked for before the right one costs 40 ns.
        if type(fact) is StepStarted:
            self._claimed(fact)
        elif type(fact) is StepCompleted:
            self._completed(fact)
        elif type(fact) is RunStarted:
            self.turn_to(self._course)  # only now it is known what it is a run of
            self._run(fact.started_at).started += 1
        elif type(fact) is RunCompleted:
            measures = self._run(fact.completed_at)
            measures.completed += 1
            if self._course.began_at is not None:
                measures.lasted("duration", us_between(self._course.began_at, fact.completed_at))
        else:
            self._count_rare(fact, recorded_at)

    def _count_rare(self, fact: RunFact, recorded_at: datetime) -> None:
        match fact:
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
        course, at = self._course, fact.started_at
        if course.picked_up_at is None and course.began_at is not None:
            self._run(at).lasted("queue", us_between(course.began_at, at))
        measures = self._step(fact.node, at)
        measures.attempts += 1
        if fact.node not in course.steps:
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
        if fact.usage is not None:
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
        measures = self._known(OF_RUNS, at)
        if measures is None:
            course = self._course
            kind = Kind.CHILD if course.child else Kind.RUN
            place = Place(course.project_id.int, course.workflow_id.int, kind, course.workflow_version)
            measures = self._near[OF_RUNS] = self._at(place, course.workspace_id, None, self._hour)
        return measures

    def _step(self, node: str, at: datetime) -> Measures:
        measures = self._known(node, at)
        if measures is None:
            measures = self._near[node] = self._step_at(node)
        return measures

    def _known(self, name: str, at: datetime) -> Measures | None:
        if not self._hour_from <= at <= self._hour_to:  # half of what it takes to compute the hour
            self._hour = hour_of(at)
            self._hour_from = start_of(HOUR, self._hour)
            self._hour_to = self._hour_from + REST_OF_HOUR
            self._near = self._near_of(self._course)
        return self._near.get(name)

    def _step_at(self, node: str) -> Measures:
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
        return self._at(place, course.workspace_id, asset_id, self._hour)

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
