"""The figures of a project over a window, summed from buckets: by workflow, step and model, and over time."""

from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from msgspec import Struct, field

from projections.insights.buckets import DAY, HOUR, Kind
from projections.insights.measures import Measures

K = TypeVar("K")

SERIES_BY_HOUR_SECONDS = 2 * DAY
"""Longer windows have one point per day in their series."""


class Window(Struct, frozen=True, kw_only=True):
    """A window of time between two full hours; the end is exclusive."""

    starts_at: datetime
    ends_at: datetime

    @property
    def seconds(self) -> int:
        """Return the length."""
        return int((self.ends_at - self.starts_at).total_seconds())

    def find_point_start(self, at: datetime) -> datetime:
        """Return the start of the point of the series that a time belongs to."""
        return at if self.series_grain == HOUR else at.replace(hour=0)

    @property
    def series_grain(self) -> int:
        """Return the length of a point of the series, in seconds."""
        return HOUR if self.seconds <= SERIES_BY_HOUR_SECONDS else DAY


class Bucket(Struct, frozen=True, kw_only=True):
    """A bucket as it was read; `past` if it belongs to the equally long period before the window."""

    past: bool
    starts_at: datetime
    kind: Kind
    workflow_id: UUID
    workflow_version: int
    node: str
    model: str
    asset_version: int
    asset_id: UUID | None
    measures: Measures


class AssetUse(NamedTuple):
    """A version of an asset."""

    asset_id: UUID
    version: int


class StepFigures(Struct, kw_only=True):
    """A step in the window (`now`) and in the period before it (`past`), and over both by version.

    `by_asset` is keyed by the version of the asset that it used, `by_version` by that of the workflow.
    """

    now: Measures = field(default_factory=Measures)
    past: Measures = field(default_factory=Measures)
    by_asset: dict[AssetUse, Measures] = {}
    by_version: dict[int, Measures] = {}

    @property
    def present(self) -> bool:
        """Return whether anything happened in the window."""
        return self.now != Measures()


class WorkflowFigures(Struct, kw_only=True):
    """A workflow: its runs, however started, and its steps by node."""

    runs: Measures = field(default_factory=Measures)
    past: Measures = field(default_factory=Measures)
    waiting: int = 0
    steps: dict[str, StepFigures] = {}

    @property
    def present(self) -> bool:
        """Return whether anything happened in the window or is waiting."""
        return self.waiting > 0 or self.runs != Measures() or any(step.present for step in self.steps.values())


class Figures(Struct, kw_only=True):
    """A project: the runs started by callers, the usage of all steps, and both over time by the start of each point."""

    window: Window
    runs: Measures = field(default_factory=Measures)
    steps: Measures = field(default_factory=Measures)
    children: Measures = field(default_factory=Measures)
    waiting: int = 0
    workflows: dict[UUID, WorkflowFigures] = {}
    models: dict[str, Measures] = {}
    series: dict[datetime, Measures] = {}

    def add_waiting(self, workflow_id: UUID, count: int) -> None:
        """Add the number of runs of a workflow that are waiting now."""
        self._workflow(workflow_id).waiting += count
        self.waiting += count

    def add(self, bucket: Bucket) -> None:
        """Add a bucket."""
        workflow = self._workflow(bucket.workflow_id)
        match bucket.kind:
            case Kind.STEP:
                self._add_step(workflow, bucket)
            case Kind.MODEL:
                if not bucket.past:
                    _merge(self.models, bucket.model, bucket.measures)
            case Kind.RUN | Kind.CHILD:
                self._add_runs(workflow, bucket)

    def _workflow(self, workflow_id: UUID) -> WorkflowFigures:
        known = self.workflows.get(workflow_id)
        if known is None:
            known = self.workflows[workflow_id] = WorkflowFigures()
        return known

    def _add_runs(self, workflow: WorkflowFigures, bucket: Bucket) -> None:
        if bucket.past:
            workflow.past.merge(bucket.measures)
            return
        workflow.runs.merge(bucket.measures)
        if bucket.kind is Kind.RUN:
            self.runs.merge(bucket.measures)
            _merge(self.series, self.window.find_point_start(bucket.starts_at), bucket.measures)
        else:
            self.children.merge(bucket.measures)

    def _add_step(self, workflow: WorkflowFigures, bucket: Bucket) -> None:
        step = workflow.steps.get(bucket.node)
        if step is None:
            step = workflow.steps[bucket.node] = StepFigures()
        _merge(step.by_version, bucket.workflow_version, bucket.measures)
        if bucket.asset_id is not None:
            _merge(step.by_asset, AssetUse(bucket.asset_id, bucket.asset_version), bucket.measures)
        if bucket.past:
            step.past.merge(bucket.measures)
            return
        step.now.merge(bucket.measures)
        self.steps.merge(bucket.measures)
        _merge(self.series, self.window.find_point_start(bucket.starts_at), bucket.measures.copy_usage())


def _merge(into: dict[K, Measures], key: K, measures: Measures) -> None:
    known = into.get(key)
    if known is None:
        known = into[key] = Measures()
    known.merge(measures)
