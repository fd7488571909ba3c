"""Projections of projects that do something else than the product's, as an older version of the code might have."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from domain.project import ProjectCreated, ProjectRenamed
from projections.read_models.projects import ProjectsProjection
from projections.runtime.projection import Cursor, Unfoldable
from store.log.records import Recorded


class OtherProjects:
    """Folds projects after a transformation of each event."""

    name = ProjectsProjection.name
    tables = ProjectsProjection.tables
    wants = ProjectsProjection.wants

    def __init__(self, transform: Callable[[Recorded], Recorded]) -> None:
        """Create the projection; `transform` is applied to each event first."""
        self._transform = transform
        self._inner = ProjectsProjection(most_remembered=100)

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        await self._inner.apply(cursor, [self._transform(event) for event in facts])

    def forget(self) -> None:
        self._inner.forget()


def add_exclamation(event: Recorded) -> Recorded:
    """Add to the name that a project is created with."""
    return (
        replace(event, fact=replace(event.fact, name=f"{event.fact.name}!"))
        if isinstance(event.fact, ProjectCreated)
        else event
    )


def refuse_bad_name(event: Recorded) -> Recorded:
    """Raise Unfoldable for the name `bad`."""
    if isinstance(event.fact, ProjectRenamed) and event.fact.name == "bad":
        raise Unfoldable(event, "it is not to our taste")
    return event


def keep_event(event: Recorded) -> Recorded:
    """Return the event unchanged."""
    return event
