"""All projections by name, for the workers, for lists of projections and for rebuilds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from projections.insights.projection import InsightsProjection
from projections.read_models.assets import AssetsProjection
from projections.read_models.history import HistoryProjection
from projections.read_models.projects import ProjectsProjection
from projections.read_models.run_steps import RunStepsProjection
from projections.read_models.runs import RunsProjection
from projections.read_models.tasks import TasksProjection
from projections.read_models.timers import TimersProjection
from projections.read_models.workflows import WorkflowsProjection
from projections.runtime.folding import BYTES_REMEMBERED
from projections.runtime.projection import Projection

REMEMBERED: Final = 5_000
"""Number of folded streams that each projection caches between batches."""

CACHING: Final = 6
"""How many projections cache streams."""


class ProjectionFactory(Protocol):
    """Creates a projection with an empty cache of so many bytes."""

    def __call__(self, *, bytes_remembered: int = BYTES_REMEMBERED) -> Projection:
        """Create it."""
        ...


def _without_cache(create: Callable[[], Projection]) -> ProjectionFactory:
    def create_without_cache(*, bytes_remembered: int = 0) -> Projection:  # noqa: ARG001  # it caches nothing
        return create()

    return create_without_cache


PROJECTIONS: Final[Mapping[str, ProjectionFactory]] = MappingProxyType(
    {
        "projects": partial(ProjectsProjection, most_remembered=REMEMBERED),
        "workflows": partial(WorkflowsProjection, most_remembered=REMEMBERED),
        "assets": partial(AssetsProjection, most_remembered=REMEMBERED),
        "runs": partial(RunsProjection, most_remembered=REMEMBERED),
        "tasks": _without_cache(TasksProjection),
        "timers": _without_cache(TimersProjection),
        "history": _without_cache(HistoryProjection),
        "run_steps": partial(RunStepsProjection, most_remembered=REMEMBERED),
        "insights": partial(InsightsProjection, most_remembered=REMEMBERED),
    }
)
"""Factories of projections with empty caches; a new projection is added here and nowhere else."""


ALL_PROJECTIONS: Final = tuple(PROJECTIONS)


def create_projections(
    names: Sequence[str], *, bytes_remembered: int = CACHING * BYTES_REMEMBERED
) -> tuple[Projection, ...]:
    """Create the named projections, whose caches take at most so many bytes together."""
    return tuple(PROJECTIONS[name](bytes_remembered=bytes_remembered // CACHING) for name in names)
