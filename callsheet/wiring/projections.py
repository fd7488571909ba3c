"""All projections by name, for the workers, for lists of projections and for rebuilds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from projections.insights.projection import InsightsProjection
from projections.read_models.assets import AssetsProjection
from projections.read_models.history import HistoryProjection
from projections.read_models.projects import ProjectsProjection
from projections.read_models.run_steps import RunStepsProjection
from projections.read_models.runs import RunsProjection
from projections.read_models.tasks import TasksProjection
from projections.read_models.timers import TimersProjection
from projections.read_models.workflows import WorkflowsProjection
from projections.runtime.projection import Projection

REMEMBERED: Final = 5_000
"""Number of folded streams that each projection caches between batches."""

PROJECTIONS: Final[Mapping[str, Callable[[], Projection]]] = MappingProxyType(
    {
        "projects": partial(ProjectsProjection, most_remembered=REMEMBERED),
        "workflows": partial(WorkflowsProjection, most_remembered=REMEMBERED),
        "assets": partial(AssetsProjection, most_remembered=REMEMBERED),
        "runs": partial(RunsProjection, most_remembered=REMEMBERED),
        "tasks": TasksProjection,
        "timers": TimersProjection,
        "history": HistoryProjection,
        "run_steps": partial(RunStepsProjection, most_remembered=REMEMBERED),
        "insights": partial(InsightsProjection, most_remembered=REMEMBERED),
    }
)
"""Factories of projections with empty caches; a new projection is added here and nowhere else."""


ALL_PROJECTIONS: Final = tuple(PROJECTIONS)


def create_projections(names: Sequence[str]) -> tuple[Projection, ...]:
    """Create the named projections."""
    return tuple(PROJECTIONS[name]() for name in names)
